"""What Orbax still says after a read or save has failed and been told of."""

import functools
import sys
import warnings


@functools.cache
def silence_late_failures() -> None:
    """Leave the one line of a failed read or save of Orbax's alone.

    Every other array that failed says so to an event loop that is closed by then, or to threads
    that may not start; the first failure is raised all the same.
    """
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    show = sys.unraisablehook
    late = ("Event loop is closed", "cannot schedule new futures")

    def show_others(found) -> None:
        if not str(found.exc_value).startswith(late):
            show(found)

    sys.unraisablehook = show_others
