"""Process 0's side of a run: who belongs to it, what all have said, and who is lost.

JAX's own coordinator lets anybody in who reaches its port, and when it goes it takes the other
processes with it, by a stack trace. So it listens on 127.0.0.1 only, behind this hub, which passes
on the connections of the processes that it has let in.
"""

import asyncio
import contextlib
import secrets
from typing import Any

from cddfuse_jax.console import report
from cddfuse_jax.distributed.messages import (
    BROKEN,
    HELLO_BYTES,
    KEY,
    MESSAGE_BYTES,
    Message,
    proof,
    receive,
    same,
    send,
)
from cddfuse_jax.distributed.relay import pass_on

BEAT_SECONDS = 2.0
SILENT_BEATS = 10  # own ones, after which another process counts as dead
HELLO_SECONDS = 10.0


class Hub:
    """Where the processes of a run meet; lives in process 0's thread of messages.

    Args:
        count: how many processes there are.
        run: what they do and with what, by name; the same for all.
        key: a secret that all know; empty: none.
        coordinator: port of JAX's coordinator on 127.0.0.1.
    """

    def __init__(self, count: int, run: dict[str, str], key: str, coordinator: int) -> None:
        self._count, self._run, self._key = count, run, key
        self._coordinator = coordinator
        self._token = secrets.token_hex(16)  # of those whom the hub let in
        self._members: dict[int, asyncio.StreamWriter] = {}
        self._silent: dict[int, int] = {}  # beats since it was heard
        self._done: set[int] = set()
        self._gathered: dict[int, dict[int, Any]] = {}
        self._stopping = False
        self._steps: dict[int, int] = {}  # that each had made when all were to stop
        self._over = False
        self._tasks: set[asyncio.Task] = set()

    async def open(self, host: str, port: int, patience: float) -> None:
        """Listen there; give up on processes that have not come after ``patience`` seconds."""
        self._server = await asyncio.start_server(self._welcome, host, port, limit=2**20)
        for work in (self._listen_for_silence(), self._give_up(patience)):
            self._tasks.add(asyncio.create_task(work))  # or nothing would keep it alive

    async def _give_up(self, patience: float) -> None:
        await asyncio.sleep(patience)
        missing = sorted(set(range(self._count)) - set(self._members))
        if missing:
            names = ", ".join(map(str, missing))
            await self._tell_all({"refused": _missing(names, self._count, patience)})

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(*BROKEN):
            nonce = secrets.token_hex(16)
            await send(writer, {"nonce": nonce})
            hello = await asyncio.wait_for(receive(reader, HELLO_BYTES), HELLO_SECONDS)
            if same(hello.get("token"), self._token):
                await self._pass_on(reader, writer)
            elif reason := self._reason_against(hello, nonce):
                await send(writer, {"refused": reason})
            else:
                await self._serve(hello["number"], reader, writer)

    def _reason_against(self, hello: Message, nonce: str) -> str | None:
        number, count, run = (hello.get(name) for name in ("number", "count", "run"))
        # Whole numbers, since they are shown: a stranger's text could hold anything.
        if type(number) is not int or type(count) is not int or not isinstance(run, dict):
            return "no process of this program"
        if not same(hello.get("proof"), proof(self._key, nonce, number)):
            return f"process {number} has another {KEY} than process 0"
        reason = None
        other = [what for what, value in self._run.items() if run.get(what) != value]
        if count != self._count:
            reason = f"process {number} was told of {count} processes, process 0 of {self._count}"
        elif other:
            reason = f"process {number} has another {' and '.join(other)} than process 0"
        elif not 0 <= number < self._count or number in self._members:
            reason = f"there is a process {number} already; give each a --process_id of its own"
        if reason:
            report(f"note: refused a process: {reason}")
        return reason

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._coordinator)
        with contextlib.closing(ours):
            await pass_on((reader, writer), (theirs, ours))

    async def _serve(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._members[number] = writer
        await send(writer, {"token": self._token})
        if len(self._members) == self._count:
            await self._tell_all({"complete": True})
        try:
            while True:
                message = await receive(reader, MESSAGE_BYTES)
                self._silent[number] = 0
                await self._hear(number, message)
        except BROKEN:
            if number not in self._done:
                await self._lose(number, "cannot be reached")

    async def _hear(self, number: int, message: Message) -> None:
        if "failed" in message:
            await self._lose(number, f"failed ({message['failed']})")
        elif "done" in message:
            self._done.add(number)
            if len(self._done) == self._count:
                self._over = True
                await self._tell_all({"over": True})
        elif "stop" in message and not self._stopping:
            self._stopping = True
            await self._tell_all({"stop": True})
        elif "at" in message:
            self._steps[number] = message["at"]
            if len(self._steps) == self._count:
                await self._tell_all({"stop_after": max(self._steps.values()) + 1})
        elif "gather" in message:
            values = self._gathered.setdefault(message["gather"], {})
            values[number] = message["value"]
            if len(values) == self._count:
                del self._gathered[message["gather"]]
                ordered = [values[i] for i in range(self._count)]
                await self._tell_all({"gathered": message["gather"], "values": ordered})

    async def _listen_for_silence(self) -> None:
        # In beats, not in seconds: a machine that stood still for a while has not heard any.
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            await self._tell_all({"beat": True})
            for number in set(self._members) - self._done:
                self._silent[number] = self._silent.get(number, 0) + 1
                if self._silent[number] >= SILENT_BEATS:
                    seconds = SILENT_BEATS * BEAT_SECONDS
                    await self._lose(number, f"has been silent for {seconds:.0f} s")

    async def _lose(self, number: int, what: str) -> None:
        """Tell the others, once: the first loss brings all others with it."""
        if not self._over:
            self._over = True
            await self._tell_all({"lost": number, "what": what}, but=number)

    async def _tell_all(self, message: Message, but: int | None = None) -> None:
        # Process 0 last: it may end at the word, and the hub with it.
        for number in sorted(set(self._members) - {but}, reverse=True):
            with contextlib.suppress(*BROKEN):
                # One that does not read must not keep the word from the others.
                await asyncio.wait_for(send(self._members[number], message), BEAT_SECONDS)


def _missing(names: str, count: int, patience: float) -> str:
    return (
        f"process {names} of {count} did not come within {patience:.0f} s; start all of them with "
        "the same --coordinator"
    )
