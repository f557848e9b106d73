"""Ctrl-C and SIGTERM, answered at once, also while the compiler runs.

Python's own handlers wait until the main thread is back from compiled code. The number of every
signal also goes into a pipe at once, and a thread reads it there.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from cddfuse_jax import files

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
_save: list[Callable[[int], None]] = []


def save_first(save: Callable[[int], None]) -> None:
    """Have the first signal ask the command to save; ``save`` gets its number."""
    _save[:] = [save]


@contextlib.contextmanager
def answered(say: Callable[[str], None]) -> Iterator[None]:
    """Answer signals in the block, which runs in the main thread.

    The first Ctrl-C raises KeyboardInterrupt, or asks to save where `save_first` was called; so
    does SIGTERM there, and else ends the process. A second signal ends it at once. ``say`` prints.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = {number: signal.signal(number, _handle) for number in _NAMES}
    pipe = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading, say), daemon=True).start()
    try:
        yield
    finally:
        _save.clear()
        signal.set_wakeup_fd(pipe)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writing)


def _handle(number: int, _frame: object) -> None:
    if number == signal.SIGINT and not _save:
        raise KeyboardInterrupt


def _watch(pipe: int, say: Callable[[str], None]) -> None:
    seen = 0
    while data := os.read(pipe, 1):
        if data[0] not in _NAMES:
            continue
        seen += 1
        if seen > 1:
            say("stopped at once: files already written are whole, nothing else was kept")
            _end(130)
        elif _save:
            name = _NAMES[signal.Signals(data[0])]
            say(f"{name}: saving after this update; Ctrl-C to stop at once")
            _save[0](data[0])
        elif data[0] == signal.SIGTERM:
            say("terminated: files already written are whole, nothing else was kept")
            _end(143)
    os.close(pipe)


def _end(code: int) -> None:
    files.remove_temporaries()
    for process in multiprocessing.active_children():
        process.kill()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
