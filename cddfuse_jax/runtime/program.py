"""A command as a program of its own."""

import functools
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
    sys.exit(stopping.run(functools.partial(console.exit_code, main)))
