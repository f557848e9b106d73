"""What a training run says: TensorBoard, progress, a line per epoch, and that it went wrong."""

import contextlib
import math
import time
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array, Float, UInt8

from cddfuse_jax.console import progress, report
from cddfuse_jax.errors import InputError
from cddfuse_jax.images.image_files import write_png
from cddfuse_jax.training.scalars import ScalarsFile


class NonFiniteError(InputError):
    """A loss part or a gradient is not a finite number, so the run cannot go on."""

    exit_code = 1


class TrainLog:
    """Takes every update's metrics in order; to be used as a context manager.

    The metrics of an update are read when the next one has been started, so that the device does
    not wait for the host; `flush` reads what is left. Of several processes one ``writes``, but all
    read, so that all end at the same update when its metrics are not finite.

    Updates are counted: ``epoch`` of an epoch, ``total`` of the whole run, ``start`` made already,
    ``every`` that a scalar of speed is the mean of. A batch has ``pairs``, shared by ``devices``.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        epoch: int,
        total: int,
        start: int,
        every: int,
        pairs: int,
        devices: int = 1,
        writes: bool = True,
    ):
        self.workdir, self.epoch, self.every, self.writes = workdir, epoch, every, writes
        self.pairs, self.devices = pairs, devices
        self._file = ScalarsFile(workdir / "tensorboard") if writes else None
        self._bar = progress(None, "training", total=total, initial=start, unit="step")
        self._pending: tuple | None = None
        self._sums: dict[str, float] = {}
        self._count = 0
        self.start_clock()

    def __enter__(self) -> "TrainLog":
        return self

    def __exit__(self, kind, *_) -> None:
        self._bar.close()
        if self._file:
            # The error that ended the run is printed, not a second one about its last scalars.
            with contextlib.suppress(*([OSError] if kind else [])):
                self._file.close()

    def start_clock(self) -> None:
        """Measure speed from now on; what came before, such as compiling, does not count."""
        self._bar.unpause()
        self._clock, self._clock_steps, self._waited = time.perf_counter(), 0, 0.0

    def update(
        self, step: int, stage: str, metrics: dict[str, Float[Array, ""]], waited: float = 0.0
    ) -> None:
        """Note the metrics of update number ``step`` (from 1); its batch took ``waited`` seconds.

        Raises:
            NonFiniteError: those of the update before are not finite.
        """
        previous, self._pending = self._pending, (step, stage, metrics, waited)
        self._read(previous)

    def flush(self) -> None:
        """Read the metrics of the last update; `NonFiniteError` where they are not finite."""
        previous, self._pending = self._pending, None
        self._read(previous)

    def held_out(self, step: int, stage: str, losses: dict[str, float]) -> None:
        """Write the losses on held-out pairs after update number ``step``."""
        report(
            f"held-out pairs after step {step} ({stage}): "
            + ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
        )
        if self._file:
            tagged = {f"held_out/{stage}/{name}": value for name, value in losses.items()}
            self._file.scalars(tagged, step)

    def picture(self, step: int, picture: UInt8[np.ndarray, "height width"]) -> Path:
        """Write an image as PNG and to TensorBoard; return the file's path."""
        path = self.workdir / "pictures" / f"step_{step:06d}.png"
        write_png(path, picture)
        if self._file:
            self._file.picture("decomposition", picture, step)
        return path

    def _read(self, pending: tuple | None) -> None:
        if pending is None:
            return
        step, stage, metrics, waited = pending
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        epoch = (step - 1) // self.epoch
        if bad := [name for name, value in values.items() if not math.isfinite(value)]:
            raise NonFiniteError(
                f"not finite in stage {stage}, epoch {epoch}, step {step}: {', '.join(bad)}; "
                "earlier checkpoints stay: lower the learning rate or look at that batch"
            )
        losses = {name: value for name, value in values.items() if "/" not in name}
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        self._clock_steps += 1
        self._waited += waited
        self._bar.update()
        shown = {name: f"{value:.3g}" for name, value in losses.items()}
        if "lr/encoder" in values:
            shown["rate"] = f"{values['lr/encoder']:.3g}"
        self._bar.set_postfix(shown, refresh=False)
        if self._file and (step % self.every == 0 or step == 1):
            tagged = {name if "/" in name else f"{stage}/{name}": x for name, x in values.items()}
            self._file.scalars(self._speed() | tagged, step)
            self._clock, self._clock_steps, self._waited = time.perf_counter(), 0, 0.0
        if step % self.epoch == 0:
            means = ", ".join(f"{name} {s / self._count:.4g}" for name, s in self._sums.items())
            report(f"epoch {epoch} ({stage}): {means}")
            self._sums, self._count = {}, 0

    def _speed(self) -> dict[str, float]:
        """Return how fast updates were since the clock was started."""
        seconds = (time.perf_counter() - self._clock) / self._clock_steps
        return {
            "pairs_per_second": self.pairs / seconds,
            "speed/pairs_per_second_and_chip": self.pairs / seconds / self.devices,
            "speed/step_seconds": seconds,
            "speed/input_wait_seconds": self._waited / self._clock_steps,
        }
