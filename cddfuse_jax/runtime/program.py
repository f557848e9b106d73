"""A command as a program of its own."""

from collections.abc import Callable

from cddfuse_jax import console
from cddfuse_jax.runtime import huge_pages


def start(main: Callable[[], int | None]) -> None:
    """Give this process what a command needs of its machine, then `console.run` ``main``.

    To be called before anything heavy is imported: the process may start itself again.
    """
    huge_pages.restart()
    console.run(main)
