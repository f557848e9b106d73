"""The processes of a run, one or more per machine: joining, sharing work, ending together.

One process on its own needs none of this: every function then answers at once.
"""

import contextlib
import hashlib
import itertools
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax

from cddfuse_jax.console import leave_telling_to_others
from cddfuse_jax.distributed.address import ALONE, Address
from cddfuse_jax.distributed.joining import join
from cddfuse_jax.distributed.member import Member
from cddfuse_jax.errors import InputError
from cddfuse_jax.runtime import stopping

TELLING_SECONDS = 8.0  # for an interrupted process to tell the others
Item = TypeVar("Item")

_NOTHING: Any = object()
_member: Member | None = None  # of this process, while it is `joined` to others


def count() -> int:
    """Return how many processes there are."""
    return _member.count if _member else 1


def number() -> int:
    """Return which process this is, from 0."""
    return _member.number if _member else 0


def is_first() -> bool:
    """Tell whether this process prints, logs and names files; always so when it is alone."""
    return number() == 0


def share(items: Sequence[Item]) -> list[Item]:
    """Return this process's items: every process another share, together all, each in order."""
    return list(items[number() :: count()])


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
    return _member.gather(value) if _member else [value]


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
    if len(set(gather(_digest("\n".join(names))))) > 1:
        raise InputError(
            f"the processes do not see the same {what}; give all of them the same folders, on a "
            "disk that they share or copied to each"
        )


def check_all_joined() -> None:
    """Check that JAX knows of no processes that this program has not joined.

    Raises:
        InputError: it does.
    """
    if jax.process_count() != count():
        raise InputError(
            f"JAX sees {jax.process_count()} processes, this run {count()}: work inside "
            "cddfuse_jax.distributed.processes.joined(), which joins what JAX has joined"
        )


@contextlib.contextmanager
def joined(address: Address = ALONE, run: Mapping[str, str] | None = None) -> Iterator[None]:
    """Join the other processes, and end with them: all well, or all soon after one fails.

    Joins by ``address``, and without one under Slurm or on a TPU pod by what they tell, or those
    that `jax.distributed.initialize` has joined already. It must come before anything else asks JAX
    for devices. A process that fails or falls silent ends all others within half a minute, each
    with a line that says which it was and why.

    Args:
        address: where they meet.
        run: what must be the same for all besides the versions, by its name in an error.

    Raises:
        InputError: the address is incomplete or wrong, or the others cannot be reached, or do
            something else.
    """
    global _member
    jax.config.update("jax_enable_preemption_service", False)  # `agreement` tells why
    member = join(address, {what: _digest(value) for what, value in (run or {}).items()})
    if member is None:
        yield
        return
    if member.number:
        leave_telling_to_others(f"process {member.number}")
    stopping.give_grace(TELLING_SECONDS)
    _member = member
    try:
        yield
        member.leave()
    except BaseException as error:
        # The others may be in the middle of a reduction with this one, so nothing that waits for
        # them, such as an orderly shutdown, would return.
        member.fail(error)
    jax.distributed.shutdown()
    member.close()
    _member = None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


class StopSignal:
    """Ask a run to save and stop at Ctrl-C or SIGTERM; a second signal ends it at once.

    Among several processes one to any of them stops all, after one and the same update.

    Attributes:
        received: number of the signal that stopped the run; where another process was sent it,
            SIGTERM's. None while it goes on.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        stopping.save_first(self._receive)

    def _receive(self, number: int) -> None:
        self.received = number
        if _member:
            _member.stop_all()

    def __call__(self, step: int) -> bool:
        """Tell whether to stop after update number ``step``."""
        if _member is None:
            return self.received is not None
        if stops := _member.agreement.ends_at(step):
            self.received = self.received or signal.SIGTERM
        return stops
