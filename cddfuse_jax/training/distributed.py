"""The processes of a training run: how they join, agree and stop. One alone needs none of it."""

import contextlib
import hashlib
import importlib.util
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from cddfuse_jax import console, signals
from cddfuse_jax._version import __version__
from cddfuse_jax.devices import check_platform
from cddfuse_jax.errors import InputError, one_line

HEARTBEAT_SECONDS = 10  # after which a process that says nothing counts as lost
TELL_SECONDS, JOIN_SECONDS = 5, 300
_DAY_MS = 24 * 3600 * 1000


class Address(NamedTuple):
    """HOST:PORT of process 0, how many processes there are, and which this is, from 0."""

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


@contextlib.contextmanager
def joined(address: Address, configuration: str) -> Iterator[None]:
    """Join the other processes, by an address or else as Slurm or a TPU pod says.

    Must come before anything else asks JAX for devices. When a process is lost, JAX ends the others
    with its own text and exit code. An error in the block ends this process at once, since the
    others may wait for it. ``configuration`` is text that must be the same for all.

    Raises:
        InputError: the address is wrong, JAX lacks the platform, the others do not come, or have
            another configuration.
    """
    _initialize(address)
    check_platform()
    if jax.process_count() == 1:
        yield
        return
    if jax.default_backend() == "cpu":
        _silence_gloo()
    if jax.process_index():
        console.speak_only_of_errors(f"process {jax.process_index()}")
    try:
        what = f"{__version__} {jax.__version__} {configuration}"
        digest = np.frombuffer(hashlib.sha256(what.encode()).digest(), np.uint8)
        if (others := gathered(digest) != digest).any():
            number = int(np.nonzero(others.any(axis=1))[0][0])
            raise InputError(
                f"process {number} has another configuration, or another version of cddfuse-jax or "
                "JAX, than this one; start all with the same"
            )
        yield
    except BaseException as error:
        code = 1
        if isinstance(error, jax.errors.JaxRuntimeError):  # before JAX itself has noticed
            lost = f"a process of this run was lost ({one_line(error)}); start all of them again"
            console.report_error(lost)
        else:
            try:
                code = console.code_of(error)
            except BaseException:
                traceback.print_exc()
        sys.stdout.flush()
        os._exit(code)
    jax.distributed.shutdown()


def _initialize(address: Address) -> None:
    given = [value is not None for value in address]
    if any(given) and not all(given):
        raise InputError(
            "--coordinator, --num_processes and --process_id belong together, got only "
            + ", ".join(f"--{name}" for name, x in address._asdict().items() if x is not None)
        )
    options: dict = {}
    if any(given):
        host, colon, port = str(address.coordinator).rpartition(":")
        if not (host and colon and port.isdecimal() and int(port) < 2**16):
            raise InputError(f"--coordinator is HOST:PORT of process 0, got {address.coordinator}")
        count, number = address.num_processes or 0, address.process_id or 0
        if not 0 <= number < count:
            raise InputError(
                f"--process_id is from 0 to --num_processes - 1, got {number} of {count}"
            )
        options = {
            "coordinator_address": address.coordinator,
            "coordinator_bind_address": address.coordinator,  # not every interface
            "num_processes": count,
            "process_id": number,
            "cluster_detection_method": "deactivate",
        }
    elif jax.distributed.is_initialized() or not _in_a_cluster():
        return
    try:
        with _patience():
            jax.distributed.initialize(
                heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
                initialization_timeout=2 * JOIN_SECONDS,  # JAX would end with a stack trace
                **options,
            )
    except (RuntimeError, ValueError) as error:
        raise InputError(f"the processes cannot join ({one_line(error)})") from None


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Print who is waited for if the block takes long, and end the process if it takes too long."""

    def give_up() -> None:
        console.report_error(
            f"the other processes did not join within {JOIN_SECONDS} s; start all of them at once, "
            "or one alone, without --coordinator and outside of srun"
        )
        os._exit(2)

    def tell() -> None:
        console.report("waiting for the other processes of this run to start and join")

    timers = [threading.Timer(TELL_SECONDS, tell), threading.Timer(JOIN_SECONDS, give_up)]
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()


def _silence_gloo() -> None:
    """Keep from standard output what Gloo, which joins CPUs, writes there of its ranks."""
    sys.stdout.flush()
    sys.stdout = os.fdopen(os.dup(1), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _in_a_cluster() -> bool:
    """Return whether JAX can find the others by itself: several tasks of srun, or a TPU machine."""
    # Of a shell in an allocation of many tasks, the step is this one process.
    if os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        return True
    chips = any(os.path.exists(device) for device in ("/dev/accel0", "/dev/vfio/0"))
    return chips and importlib.util.find_spec("libtpu") is not None


def is_first() -> bool:
    """Return whether this process prints, logs and draws; always so for one alone."""
    return jax.process_index() == 0


def wait_for_all() -> None:
    """Return when all have called this. On CPUs a reduction gives up after 30 s; this does not."""
    if jax.process_count() > 1:
        ocp.multihost.get_barrier_sync_fn()(key="cddfuse_jax", timeout_ms=_DAY_MS)


def gathered(value: np.ndarray) -> np.ndarray:
    """Return the arrays of all processes, stacked. All must call this, in the same order."""
    if jax.process_count() == 1:
        return value[None]
    wait_for_all()
    return np.asarray(multihost_utils.process_allgather(value))


class StopSignal:
    """Ask a run to save and stop at Ctrl-C or SIGTERM, which ``received`` then names.

    Among several processes one to any of them stops all, after one and the same update.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        signals.save_first(self._receive)

    def _receive(self, number: int) -> None:
        self.received = number
        if jax.distributed.is_initialized():
            os.kill(os.getpid(), signal.SIGTERM)  # JAX's runtime takes that, and stops the others

    def __call__(self, step: int) -> bool:
        """Return whether to stop after update number ``step``."""
        if not jax.distributed.is_initialized():
            return self.received is not None
        if stops := multihost_utils.reached_preemption_sync_point(step):
            self.received = self.received or signal.SIGTERM
        return stops
