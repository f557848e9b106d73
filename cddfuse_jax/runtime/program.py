"""A command as a program of its own."""

import atexit
import functools
import os
import sys
from collections.abc import Callable

from cddfuse_jax import console
from cddfuse_jax.runtime import huge_pages, stopping


def start(main: Callable[[], int | None]) -> None:
    """Give this process what a command needs of its machine, then run ``main`` and exit.

    To be called before anything heavy is imported: the process may start itself again. The exit
    code is that of `console.exit_code`, or `stopping.run`'s when a signal came.
    """
    huge_pages.restart()
    os.environ.pop("JAX_NUMPY_RANK_PROMOTION", None)  # a check for the user's own code
    code: int | str | None = 1
    # Registered first, so called last: after the libraries' own endings, and before Python takes
    # the interpreter from under threads that they left behind, which then abort the process.
    atexit.register(lambda: _end(code))
    try:
        code = stopping.run(functools.partial(console.exit_code, main))
    except SystemExit as ending:
        code = ending.code
        raise
    sys.exit(code)


def _end(code: int | str | None) -> None:
    stopping.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))
