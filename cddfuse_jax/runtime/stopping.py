"""Ctrl-C and SIGTERM, answered at once, whatever a command is doing.

Python runs a signal's handler between two steps of the main thread, and compiling is one such step:
so a command works in a thread of its own, while the main thread does nothing but wait for signals.
"""

import contextlib
import ctypes
import math
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from cddfuse_jax import files
from cddfuse_jax.console import report_per_process

GRACE_SECONDS = 2.0  # what a command gets to tidy up; compiled code does not hear that it should
_INTERRUPTED = "interrupted: files already written are whole, nothing else was kept"
_SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
_Event = int | None  # a signal's number; None when the work has ended
_AGAIN = 0  # no signal's number: the KeyboardInterrupt was dropped
# A signal does not end the main thread's wait where another thread received it, or where it came
# just before the wait began. Python answers it all the same as soon as that wait ends.
_LOOK_SECONDS = 0.25

_events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
_settings: dict = {"save": None, "grace": GRACE_SECONDS}


def save_first(save: Callable[[int], None]) -> None:
    """Have the first signal ask the work to save and return; the second one ends it at once.

    Args:
        save: called with the signal's number.
    """
    _settings["save"] = save


def give_grace(seconds: float) -> None:
    """Set how long work that was interrupted may tidy up before the process ends."""
    _settings["grace"] = seconds


def run(work: Callable[[], int]) -> int:
    """Do ``work`` in a thread and return its exit code, or raise what it raises.

    A Ctrl-C raises KeyboardInterrupt in it, and the process ends with 130 when it has tidied up, or
    soon after if it does not get to that. SIGTERM ends the process at once, as that signal does.
    Files of `files.replacing` are then whole or absent.
    """
    # A worker that is killed leaves semaphores to Python's tracker, which complains of them.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
    for number in _SIGNALS:
        signal.signal(number, lambda number, _frame: _events.put(number))
    ended: list[int | BaseException] = []

    def body() -> None:
        try:
            ended.append(work())
        except BaseException as error:  # SystemExit of an argument parser among them
            ended.append(error)
        finally:
            _events.put(None)

    worker = threading.Thread(target=body, name="command", daemon=True)
    _tell_of_what_is_lost()
    worker.start()
    if _wait(worker):
        _leave(signal.SIGINT)
    result = ended[0]
    if isinstance(result, BaseException):
        raise result
    return result


def _wait(worker: threading.Thread) -> bool:
    """Answer signals until the work has ended; tell whether it was interrupted."""
    asked = interrupted = False
    ends = math.inf
    while True:
        try:
            number = _events.get(timeout=min(_LOOK_SECONDS, max(0.0, ends - time.monotonic())))
        except queue.Empty:
            if time.monotonic() >= ends:
                return True
            continue
        if number is None:
            return interrupted
        if number == _AGAIN:
            _raise_in(worker)
        elif _settings["save"] and not asked:
            asked = True
            again = "again" if number == signal.SIGINT else "Ctrl-C"
            report_per_process(
                f"{_SIGNALS[signal.Signals(number)]}: saving after this update; {again} to stop now"
            )
            _settings["save"](number)
        elif asked:
            report_per_process(
                "stopped at once: checkpoints already written are whole, nothing else was kept"
            )
            _leave(number)
        elif number == signal.SIGINT and not interrupted:
            interrupted = True
            ends = time.monotonic() + _settings["grace"]
            report_per_process(_INTERRUPTED)
            _raise_in(worker)
        else:
            if not interrupted:
                report_per_process(_INTERRUPTED.replace("interrupted", "terminated"))
            _leave(number)


def _raise_in(worker: threading.Thread) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(worker.ident or 0), ctypes.py_object(KeyboardInterrupt)
    )


def _leave(number: int) -> NoReturn:
    """End this process without waiting for any thread: one that compiles cannot be stopped."""
    files.remove_temporaries()
    for process in multiprocessing.active_children():
        with contextlib.suppress(OSError):
            process.kill()
    flush()
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        time.sleep(1)
    os._exit(128 + number)


def _tell_of_what_is_lost() -> None:
    """Have a Ctrl-C that met a callback of Python's own, which drops it, come once more."""
    told = sys.unraisablehook

    def hook(dropped: "sys.UnraisableHookArgs") -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            _events.put(_AGAIN)  # not raised from here: this is such a callback too
        else:
            told(dropped)

    sys.unraisablehook = hook


def flush() -> None:
    """Write out what was printed, where there is still somebody to read it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
