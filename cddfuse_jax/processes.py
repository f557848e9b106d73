"""The processes of a run, one or more per machine: joining, sharing work, ending together.

One process on its own needs none of this: every function then answers at once.
"""

import contextlib
import importlib.util
import itertools
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from cddfuse_jax.commands import InputError, leave_telling_to_others, report_error

BEAT_SECONDS = 2.0
SILENCE_SECONDS = 20.0  # after which a process counts as dead; the runtime's own limit is twice it
FOLDER = "cddfuse_jax/"  # in the store that all processes share
Item = TypeVar("Item")


class Address(NamedTuple):
    """Where the processes of a run meet, given by flags where no cluster tells.

    Attributes:
        coordinator: HOST:PORT of process 0, the same for all.
        num_processes: how many there are.
        process_id: which this one is, from 0.
    """

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


ALONE = Address()
_meetings = itertools.count()


class ProcessLostError(InputError):
    """Another process of this run ended before its work was done."""

    exit_code = 1


def is_first() -> bool:
    """Tell whether this process prints, logs and names files; always so when it is alone."""
    return jax.process_index() == 0


def share(items: Sequence[Item]) -> list[Item]:
    """Return this process's items: every process another share, together all, each in order."""
    return list(items[jax.process_index() :: jax.process_count()])


def all_agree(fine: bool) -> bool:
    """Tell whether ``fine`` holds on every process. All must call this, in the same order."""
    if jax.process_count() == 1:
        return fine
    return bool(np.all(multihost_utils.process_allgather(np.asarray(fine))))


def wait_for_all() -> None:
    """Return when all processes have called this, which may take them an hour."""
    if jax.process_count() > 1:
        _store().wait_at_barrier(f"{FOLDER}meeting {next(_meetings)}", 3_600_000)


def _store() -> Any:
    # What all processes share, and meet at without any device, has no public name.
    from jax._src import distributed

    return distributed.global_state.client


@contextlib.contextmanager
def joined(address: Address = ALONE) -> Iterator[None]:
    """Join the other processes, and end with them: all well, or all soon after one fails.

    Joins by ``address``, and without one on a TPU pod or under Slurm by what they tell. It must
    come before anything else asks JAX for devices. A process that fails or falls silent ends all
    others within half a minute, each with a line that says which it was and why.

    Raises:
        InputError: the address is incomplete or wrong, or the others cannot be reached.
    """
    if not _join(address):
        yield
        return
    if not is_first():
        leave_telling_to_others(f"process {jax.process_index()}")
    watch = _Watch()
    try:
        yield
    except BaseException as error:
        # The others may be in the middle of a reduction with this one, so nothing that waits for
        # them, such as an orderly shutdown, would return.
        watch.fail(error)
    watch.leave()


def _join(address: Address) -> bool:
    given = [value is not None for value in address]
    if any(given) and not all(given):
        raise InputError(
            "--coordinator, --num_processes and --process_id belong together, got only "
            + ", ".join(f"--{name}" for name, x in address._asdict().items() if x is not None)
        )
    options: dict[str, Any] = {"heartbeat_timeout_seconds": int(2 * SILENCE_SECONDS)}
    if all(given):
        host, colon, port = address.coordinator.rpartition(":")
        if not (host and colon and port.isdecimal()):
            raise InputError(
                f"--coordinator must be HOST:PORT of process 0, got {address.coordinator!r}"
            )
        if not 0 <= address.process_id < address.num_processes:
            raise InputError(
                "--process_id must be from 0 to --num_processes - 1, got "
                f"{address.process_id} of {address.num_processes}"
            )
        if address.process_id == 0:
            _check_port(address.coordinator, int(port))
        options |= {
            "coordinator_address": address.coordinator,
            "num_processes": address.num_processes,
            "process_id": address.process_id,
            "cluster_detection_method": "deactivate",
        }
    elif not _in_cluster():
        return False
    try:
        jax.distributed.initialize(**options)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"the processes cannot join ({reason})") from None
    return jax.process_count() > 1


def _check_port(coordinator: str, port: int) -> None:
    # The runtime aborts the process when it cannot listen.
    try:
        with socket.create_server(("", port)):
            pass
    except OSError as error:
        raise InputError(
            f"--coordinator {coordinator}: cannot listen on that port ({error.strerror}); "
            "name a free one, the same for all processes"
        ) from None


def _in_cluster() -> bool:
    """Tell whether JAX can find the other processes by itself: more than one Slurm task, or TPU."""
    step = ("SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID")  # absent outside of srun
    if int(os.environ.get("SLURM_NTASKS", 1)) > 1 and all(name in os.environ for name in step):
        return True
    chips = any(os.path.exists(device) for device in ("/dev/accel0", "/dev/vfio/0"))
    return importlib.util.find_spec("libtpu") is not None and chips


class _Watch:
    """Tells the other processes that this one lives, and ends it when another one does not.

    The runtime would notice too, but it aborts with a stack trace and names no reason.
    """

    def __init__(self) -> None:
        self._store = _store()
        self._me, self._silence = jax.process_index(), SILENCE_SECONDS
        self._done = threading.Event()
        self._tell("alive 0")
        threading.Thread(target=self._run, daemon=True).start()

    def leave(self) -> None:
        """Say that this process has done its work."""
        self._done.set()
        with contextlib.suppress(Exception):
            self._tell("done")

    def fail(self, error: BaseException) -> None:
        """Report why this process ends, here and to the others, and end it."""
        if is_lost_connection(error):
            # Some other process ended: the watching thread finds out which and ends this one.
            self._silence = 3 * BEAT_SECONDS
            time.sleep(5 * BEAT_SECONDS)
        self._done.set()
        line = " ".join(str(error).split())[:400] or type(error).__name__
        with contextlib.suppress(Exception):
            self._tell(f"failed {line}")
        if not isinstance(error, InputError | KeyboardInterrupt):
            sys.excepthook(type(error), error, error.__traceback__)
        interrupted = isinstance(error, KeyboardInterrupt)
        self._end(line, getattr(error, "exit_code", 130 if interrupted else 1))

    def _end(self, line: str, code: int) -> None:
        report_error(line)
        if is_first():
            time.sleep(2 * BEAT_SECONDS)  # the store ends with this process: let all read it
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def _tell(self, word: str) -> None:
        self._store.key_value_set(f"{FOLDER}{self._me}", word, allow_overwrite=True)

    def _run(self) -> None:
        seen: dict[str, tuple[str, float]] = {}
        beat = 0
        while not self._done.wait(BEAT_SECONDS):
            beat += 1
            try:
                self._tell(f"alive {beat}")
                line = self._verdict(seen)
            except jax.errors.JaxRuntimeError:
                line = _lost("process 0", "cannot be reached")
            if line and not self._done.is_set():
                self._end(line, ProcessLostError.exit_code)

    def _verdict(self, seen: dict[str, tuple[str, float]]) -> str | None:
        now = time.monotonic()
        for key, word in self._store.key_value_dir_get(FOLDER):
            name = f"process {key.rpartition('/')[2]}"
            if name == f"process {self._me}" or word == "done":
                continue
            if word.startswith("failed "):
                return _lost(name, f"failed ({word.removeprefix('failed ')})")
            if seen.setdefault(name, (word, now))[0] != word:
                seen[name] = word, now
            elif now - seen[name][1] > self._silence:
                return _lost(name, f"has been silent for {self._silence:.0f} s")
        return None


def is_lost_connection(error: BaseException) -> bool:
    """Tell whether an error looks as if another process had ended in the middle of a reduction."""
    signs = ("Gloo", "NCCL", "onnection", "UNAVAILABLE", "DEADLINE_EXCEEDED")
    return isinstance(error, jax.errors.JaxRuntimeError) and any(s in str(error) for s in signs)


def _lost(name: str, what: str) -> str:
    return (
        f"{name} of this run {what}; this one ends too: start all of them again to go on from the "
        "newest checkpoint"
    )


class StopSignal:
    """Ask a run to save and stop at SIGINT or SIGTERM; a second SIGINT interrupts at once.

    Among several processes a SIGTERM to any of them stops all, after one and the same update. A
    Ctrl-C there is an interruption: only SIGTERM is passed on.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._together = jax.process_count() > 1
        if self._together:  # JAX's runtime has taken SIGTERM, to agree on the update to stop after
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def _receive(self, number: int, _frame) -> None:
        self.received = number
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __call__(self, step: int) -> bool:
        """Tell whether to stop after update number ``step``."""
        if self._together and multihost_utils.reached_preemption_sync_point(step):
            self.received = signal.SIGTERM
        return self.received is not None
