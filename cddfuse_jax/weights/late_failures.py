"""What Orbax says of a read or save that failed, beside the error that it raises."""

import contextlib
import functools
import logging
import re
import sys
import warnings
from collections.abc import Iterator

from cddfuse_jax.errors import one_line


@contextlib.contextmanager
def failing_quietly() -> Iterator[None]:
    """Leave the one line of a save alone that fails in the block.

    Every other array that was not written either says so, in logs and to an event loop that is
    closed by then, or to threads that may not start; the first failure is raised all the same.
    They say it late, so that after a failure the loggers stay silent; else they are as before.
    """
    silence_late_failures()
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


def reason(error: Exception) -> str:
    """Return the operating system's words in the libraries' message, or else all of it."""
    found = re.search(r"([^:]+) \[os_error_code=", str(error))
    return found[1].strip() if found else one_line(error)


@functools.cache
def silence_late_failures() -> None:
    """Show nothing of what comes out of Orbax's threads when the failure has been told of."""
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    show = sys.unraisablehook
    late = ("Event loop is closed", "cannot schedule new futures")

    def show_others(found) -> None:
        if not str(found.exc_value).startswith(late):
            show(found)

    sys.unraisablehook = show_others
