"""A record of what was fused: a line of JSON for each pair, as it is done."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from cddfuse_jax._version import __version__
from cddfuse_jax.errors import InputError
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.fusing.pair_files import Outcome


@contextlib.contextmanager
def recording(path: Path | None) -> Iterator[Callable[[Fuser, Outcome], None]]:
    """Append a line for each outcome to ``path``.

    The fields: name, visible, infrared, out (paths as given), error or null, width, height, shift
    of the infrared image in pixels (right, down) where it is certain or null, notes, seconds from
    reading to written, weights, residual, program.
    """
    if path is None:
        yield lambda fuser, outcome: None
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise InputError(f"--log {path} cannot be written: {error.strerror}") from None
    with file:

        def record(fuser: Fuser, outcome: Outcome) -> None:
            height, width = outcome.size or (None, None)
            line = {
                "name": outcome.pair.name,
                "visible": str(outcome.pair.visible),
                "infrared": str(outcome.pair.infrared),
                "out": str(outcome.out),
                "error": outcome.error,
                "width": width,
                "height": height,
                "shift": outcome.shift,
                "notes": list(outcome.notes),
                "seconds": round(outcome.seconds, 4),
                "weights": fuser.weights,
                "residual": fuser.residual,
                "program": f"cddfuse-jax {__version__}",
            }
            file.write(json.dumps(line) + "\n")
            file.flush()

        yield record
