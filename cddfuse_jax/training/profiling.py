"""A trace of a few updates, for TensorBoard's profiler and for ui.perfetto.dev."""

from pathlib import Path
from typing import Any

import jax

from cddfuse_jax.console import report


class Profile:
    """Traces the updates from ``steps[0]`` to ``steps[1]`` into ``folder``; none without steps."""

    def __init__(self, folder: Path, steps: tuple[int, int] | None):
        self.folder = folder
        self.first, self.last = steps or (0, 0)
        self._running = False

    def before(self, step: int) -> None:
        """Begin, if update number ``step`` is the first of those to trace, or among them."""
        if not self._running and self.first <= step <= self.last:
            jax.profiler.start_trace(str(self.folder), create_perfetto_trace=True)
            self._running = True

    def after(self, step: int, results: Any) -> None:
        """End, if update number ``step`` was the last; ``results`` are waited for."""
        if self._running and step >= self.last:
            jax.block_until_ready(results)
            self.close()

    def close(self) -> None:
        """End a trace that is running."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
            report(
                f"trace of updates {self.first} to {self.last}: {self.folder} (tensorboard "
                "--logdir, or its perfetto_trace.json.gz in ui.perfetto.dev)"
            )
