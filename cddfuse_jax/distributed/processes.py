"""The processes of a run, one or more per machine: joining, sharing work, ending together.

One process on its own needs none of this: every function then answers at once.
"""

import contextlib
import hashlib
import importlib.util
import itertools
import json
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import jax
from jax.experimental import multihost_utils

from cddfuse_jax.console import leave_telling_to_others
from cddfuse_jax.distributed.address import ALONE, Address
from cddfuse_jax.distributed.watch import Watch, runtime
from cddfuse_jax.errors import InputError, one_line
from cddfuse_jax.runtime import stopping

MEETINGS = "cddfuse_jax/meetings/"  # in the store that all processes share
PART = 2**20  # characters of a value in the store: its messages have a limit of 4 MB
POLL_SECONDS = 0.05
TELLING_SECONDS = 8.0  # for an interrupted process to tell the others
Item = TypeVar("Item")


_NOTHING: Any = object()
_meetings = itertools.count()


def count() -> int:
    """Return how many processes there are."""
    return runtime().num_processes


def is_first() -> bool:
    """Tell whether this process prints, logs and names files; always so when it is alone."""
    return runtime().process_id == 0


def share(items: Sequence[Item]) -> list[Item]:
    """Return this process's items: every process another share, together all, each in order."""
    return list(items[runtime().process_id :: count()])


def joint(shares: Sequence[Sequence[Item]]) -> list[Item]:
    """Return the items of all processes' shares in the order that `share` was given."""
    rows = itertools.zip_longest(*shares, fillvalue=_NOTHING)
    return [item for row in rows for item in row if item is not _NOTHING]


def gather(value: Any) -> list[Any]:
    """Return what every process gives, in their order; wait for the last, which may take hours.

    All must call this, in the same order. It needs no device, so it may wait where a reduction
    would give up, and its values are what JSON can hold: numbers come out as they went in, tuples
    as lists.
    """
    if count() == 1:
        return [value]
    store, place = runtime().client, f"{MEETINGS}{next(_meetings)}/"
    text = json.dumps(value)
    parts = [text[start : start + PART] for start in range(0, len(text), PART)]
    for number, part in enumerate(parts):
        store.key_value_set(f"{place}{runtime().process_id}/{number}", part)
    store.key_value_set(f"{place}{runtime().process_id}", str(len(parts)))  # all of it is there

    def read(process: int) -> Any:
        while True:  # not blocking in the store, where Ctrl-C would not be heard
            try:
                parts = range(int(store.key_value_try_get(f"{place}{process}")))
                break
            except jax.errors.JaxRuntimeError as error:
                if "NOT_FOUND" not in str(error):
                    raise
                time.sleep(POLL_SECONDS)
        return json.loads("".join(store.key_value_try_get(f"{place}{process}/{i}") for i in parts))

    return [read(process) for process in range(count())]


def all_agree(fine: bool) -> bool:
    """Tell whether ``fine`` holds on every process. All must call this, in the same order."""
    return all(gather(bool(fine)))


def wait_for_all() -> None:
    """Return when all processes have called this, which may take them hours."""
    gather(None)


def check_same(names: Sequence[str], what: str) -> None:
    """Check that all processes see the same, and wait until all have called this.

    Raises:
        InputError: ``names`` differ.
    """
    if len(set(gather(hashlib.sha256("\n".join(names).encode()).hexdigest()))) > 1:
        raise InputError(
            f"the processes do not see the same {what}; give all of them the same folders, on a "
            "disk that they share or copied to each"
        )


@contextlib.contextmanager
def joined(address: Address = ALONE, stop_together: bool = False) -> Iterator[None]:
    """Join the other processes, and end with them: all well, or all soon after one fails.

    Joins by ``address``, and without one on a TPU pod or under Slurm by what they tell. It must
    come before anything else asks JAX for devices. A process that fails or falls silent ends all
    others within half a minute, each with a line that says which it was and why.

    Args:
        address: where they meet.
        stop_together: whether JAX's runtime takes SIGTERM, for `StopSignal`; else it ends the
            process that gets it, and so the others.

    Raises:
        InputError: the address is incomplete or wrong, or the others cannot be reached.
    """
    if not _join(address, stop_together):
        yield
        return
    if not is_first():
        leave_telling_to_others(f"process {runtime().process_id}")
    watch = Watch()
    stopping.give_grace(TELLING_SECONDS)
    try:
        yield
    except BaseException as error:
        # The others may be in the middle of a reduction with this one, so nothing that waits for
        # them, such as an orderly shutdown, would return.
        watch.fail(error)
    watch.leave()


def _join(address: Address, stop_together: bool) -> bool:
    given = [value is not None for value in address]
    if any(given) and not all(given):
        raise InputError(
            "--coordinator, --num_processes and --process_id belong together, got only "
            + ", ".join(f"--{name}" for name, x in address._asdict().items() if x is not None)
        )
    options: dict[str, Any] = {}
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
            _check_port(address.coordinator, host, int(port))
            # Not on every interface, which is JAX's default: its runtime lets anybody in.
            options["coordinator_bind_address"] = address.coordinator
        options |= {
            "coordinator_address": address.coordinator,
            "num_processes": address.num_processes,
            "process_id": address.process_id,
            "cluster_detection_method": "deactivate",
        }
    elif not _in_cluster():
        return False
    jax.config.update("jax_enable_preemption_service", stop_together)
    try:
        jax.distributed.initialize(**options)
    except (RuntimeError, ValueError) as error:
        reason = one_line(error)
        raise InputError(f"the processes cannot join ({reason})") from None
    return count() > 1


def _check_port(coordinator: str, host: str, port: int) -> None:
    # The runtime aborts the process when it cannot listen.
    try:
        family, *_, place = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with socket.create_server(place[:2], family=family):
            pass
    except OSError as error:
        raise InputError(
            f"--coordinator {coordinator}: cannot listen there ({error.strerror}); "
            "name an address of process 0's machine and a free port, the same for all processes"
        ) from None


def _in_cluster() -> bool:
    """Tell whether JAX can find the other processes by itself: more than one Slurm task, or TPU."""
    step = ("SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID")  # absent outside of srun
    if int(os.environ.get("SLURM_NTASKS", 1)) > 1 and all(name in os.environ for name in step):
        return True
    chips = any(os.path.exists(device) for device in ("/dev/accel0", "/dev/vfio/0"))
    return importlib.util.find_spec("libtpu") is not None and chips


class StopSignal:
    """Ask a run to save and stop at SIGINT or SIGTERM; a second signal ends it at once.

    Among several processes a SIGTERM to any of them stops all, after one and the same update. A
    Ctrl-C there is an interruption: only SIGTERM is passed on.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._together = count() > 1
        if not self._together:  # else JAX's runtime has SIGTERM, to agree on the update to stop at
            stopping.save_first(self._receive)

    def _receive(self, number: int) -> None:
        self.received = number

    def __call__(self, step: int) -> bool:
        """Tell whether to stop after update number ``step``."""
        if self._together and multihost_utils.reached_preemption_sync_point(step):
            self.received = signal.SIGTERM
        return self.received is not None
