"""Telling the other processes of a run that this one lives, and ending it when another is dead.

JAX's runtime would notice too, but it aborts with a stack trace and names no reason.
"""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from typing import Any, NoReturn

import jax
from jax._src import distributed  # what all processes share has no public name

from cddfuse_jax.console import report_error
from cddfuse_jax.errors import InputError, one_line

BEAT_SECONDS = 2.0
SILENT_BEATS = 10  # own ones, after which another process counts as dead
LIVES = "cddfuse_jax/lives/"  # in the store that all processes share


class ProcessLostError(InputError):
    """Another process of this run ended before its work was done."""

    exit_code = 1


def runtime() -> Any:
    """Return what JAX knows of the processes: their number, the store that they share.

    Unlike `jax.process_count` it asks for no device.
    """
    return distributed.global_state


def is_lost_connection(error: BaseException) -> bool:
    """Tell whether an error looks as if another process had ended in the middle of a reduction."""
    signs = ("Gloo", "NCCL", "onnection", "UNAVAILABLE", "DEADLINE_EXCEEDED")
    return isinstance(error, jax.errors.JaxRuntimeError) and any(s in str(error) for s in signs)


class Watch:
    """Watches over the other processes in a thread of its own, from now until `leave`."""

    def __init__(self) -> None:
        self._store, self._me = runtime().client, runtime().process_id
        self._patience = SILENT_BEATS
        self._done, self._ending = threading.Event(), threading.Lock()
        self._tell("alive 0")
        if self._me:
            self._release_abort = _at_abort(self._aborted)
        else:
            self._release_abort = lambda: None
        threading.Thread(target=self._run, daemon=True).start()

    def leave(self) -> None:
        """Say that this process has done its work."""
        self._done.set()
        self._release_abort()
        with contextlib.suppress(Exception):
            self._tell("done")

    def fail(self, error: BaseException) -> NoReturn:
        """Report why this process ends, here and to the others, and end it."""
        if is_lost_connection(error):
            # Some other process ended: the watching thread finds out which and ends this one.
            self._patience = 3
            time.sleep(5 * BEAT_SECONDS)
        self._done.set()
        line = one_line(error) or type(error).__name__
        with contextlib.suppress(Exception):
            self._tell(f"failed {line}")
        if not isinstance(error, InputError | KeyboardInterrupt):
            sys.excepthook(type(error), error, error.__traceback__)
        interrupted = isinstance(error, KeyboardInterrupt)
        self._end(line, getattr(error, "exit_code", 130 if interrupted else 1))

    def _end(self, line: str, code: int) -> NoReturn:
        self._ending.acquire()  # for good: one line is enough
        report_error(line)
        for worker in multiprocessing.active_children():
            with contextlib.suppress(OSError):
                worker.terminate()
        if self._me == 0:
            time.sleep(2 * BEAT_SECONDS)  # the store ends with this process: let all read it
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def _tell(self, word: str) -> None:
        self._store.key_value_set(f"{LIVES}{self._me}", word, allow_overwrite=True)

    def _run(self) -> None:
        seen: dict[str, tuple[str, int]] = {}
        beat = 0
        while not self._done.wait(BEAT_SECONDS):
            beat += 1
            try:
                self._tell(f"alive {beat}")
                line = self._verdict(seen, beat)
            except jax.errors.JaxRuntimeError:
                line = _lost("process 0", "cannot be reached")
            if line and not self._done.is_set():
                self._end(line, ProcessLostError.exit_code)

    def _verdict(self, seen: dict[str, tuple[str, int]], beat: int) -> str | None:
        # In beats, not in seconds: a machine that stood still for a while has not heard any.
        for key, word in self._store.key_value_dir_get(LIVES):
            name = f"process {key.rpartition('/')[2]}"
            if name == f"process {self._me}" or word == "done":
                continue
            if word.startswith("failed "):
                return _lost(name, f"failed ({word.removeprefix('failed ')})")
            if seen.setdefault(name, (word, beat))[0] != word:
                seen[name] = word, beat
            elif (silent := beat - seen[name][1]) >= self._patience:
                return _lost(name, f"has been silent for {silent * BEAT_SECONDS:.0f} s")
        return None

    def _aborted(self, number: int) -> None:
        """End this process with a line if the runtime aborts it since process 0 is gone.

        The runtime does so the moment that its connection breaks, holding a lock that every use of
        the store waits for: so the watching thread would be too late. Any other abort goes on.
        """
        time.sleep(1)  # a process that dies may close its port last
        host, _, port = runtime().coordinator_address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
        except OSError:
            self._end(_lost("process 0", "cannot be reached"), ProcessLostError.exit_code)


def _lost(name: str, what: str) -> str:
    return f"{name} of this run {what}; this one ends too: start all of them again"


def _at_abort(function: Any) -> Any:
    """Have abort() call ``function``, in the thread that aborts; return what undoes this.

    A handler of `signal.signal` is of no use: it runs later, in the main thread, and there is no
    later.
    """
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(function)
    install = ctypes.CDLL(None).signal
    install.argtypes, install.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    before = install(signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p))

    def undo() -> None:
        install(signal.SIGABRT, before)
        _kept.remove(handler)

    _kept.append(handler)
    return undo


_kept: list[Any] = []  # C code holds only an address of what Python would free
