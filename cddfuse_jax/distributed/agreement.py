"""Which update all processes of a run stop after, when one of them is asked to stop.

JAX's preemption service agrees on that too, but takes SIGTERM from us, and waits for the other
processes with Python's lock in hand: the threads that pass on its own messages then stand still.
"""

import concurrent.futures
import threading
from typing import TypeVar

POLL_SECONDS = 0.02  # a wait that is longer does not hear Ctrl-C
Value = TypeVar("Value")


class Agreement:
    """One process's part: how far it is when it is asked, and what the hub then decides.

    From the question to the answer no update is begun here, so the one decided on is ahead of all.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._step, self._asked = 0, False
        self._last: concurrent.futures.Future[int] = concurrent.futures.Future()

    def hold(self) -> int:
        """Return the last update that was made here, and have no other begun; for the messages."""
        with self._lock:
            self._asked = True
            return self._step

    def decide(self, step: int) -> None:
        """Set the update to stop after; for the messages."""
        self._last.set_result(step)

    def ends_at(self, step: int) -> bool:
        """Tell whether to stop after update number ``step``, which has just been made."""
        with self._lock:
            self._step = step
            asked = self._asked
        return asked and step >= wait(self._last)


def wait(future: "concurrent.futures.Future[Value]") -> Value:
    """Return a future's result, or raise what it holds; Ctrl-C ends the wait."""
    while not concurrent.futures.wait([future], POLL_SECONDS).done:
        pass
    return future.result()
