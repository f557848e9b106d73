"""One process's side of a run: its line to the hub, and the end when another process is lost."""

import asyncio
import concurrent.futures
import contextlib
import multiprocessing
import os
import sys
import threading
import time
from typing import Any, NoReturn

import jax

from cddfuse_jax.console import report_error
from cddfuse_jax.distributed.agreement import Agreement, wait
from cddfuse_jax.distributed.hub import BEAT_SECONDS, SILENT_BEATS, Hub
from cddfuse_jax.distributed.messages import BROKEN, HELLO_BYTES, free_port, proof, receive, send
from cddfuse_jax.distributed.relay import relay
from cddfuse_jax.errors import InputError, one_line

JOIN_SECONDS = 300.0
VERDICT_SECONDS = (SILENT_BEATS + 5) * BEAT_SECONDS


class ProcessLostError(InputError):
    """Another process of this run ended before its work was done."""

    exit_code = 1


def is_lost_connection(error: BaseException) -> bool:
    """Tell whether an error looks as if another process had ended in the middle of a reduction."""
    signs = ("Gloo", "NCCL", "onnection", "UNAVAILABLE", "DEADLINE_EXCEEDED")
    return isinstance(error, jax.errors.JaxRuntimeError) and any(s in str(error) for s in signs)


class Member:
    """The place of this process among those of its run.

    A thread of its own speaks with the hub, and ends the process when the hub tells of a loss:
    the work may be in the middle of a reduction with the lost one, which never returns.

    Args:
        place: host and port of the hub.
        number: which process this is, from 0; process 0 holds the hub.
        count: how many there are.
        run: what they do and with what, by name; the same for all.
        key: a secret that all know; empty: none.

    Attributes:
        coordinator: where JAX's coordinator is for this process, as HOST:PORT.
        agreement: on the update that all stop after.
    """

    def __init__(
        self, place: tuple[str, int], number: int, count: int, run: dict[str, str], key: str = ""
    ) -> None:
        self.number, self.count, self.coordinator = number, count, ""
        self.agreement = Agreement()
        self._place, self._run, self._key = place, run, key
        self._token, self._silent = "", 0
        self._results: dict[Any, concurrent.futures.Future] = {}
        self._meetings, self._ending = 0, threading.Lock()
        self._joined: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._over: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="processes", daemon=True)

    def join(self) -> None:
        """Return when all processes are there.

        Raises:
            InputError: they do not come, or this one is refused.
        """
        self._thread.start()
        wait(self._joined)

    def gather(self, value: Any) -> list[Any]:
        """Return what every process gives, in their order; wait for the last, however long."""
        meeting, self._meetings = self._meetings, self._meetings + 1
        result = self._results[meeting] = concurrent.futures.Future()
        self._say({"gather": meeting, "value": value})
        return wait(result)

    def stop_all(self) -> None:
        """Have all processes stop, after the same update; see `agreement`."""
        self._say({"stop": True})

    def leave(self) -> None:
        """Say that the work is done, and wait until all others have said so."""
        self._say({"done": True})
        wait(self._over)

    def close(self) -> None:
        """End the thread: JAX's own connections pass through it until then."""
        self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join()

    def fail(self, error: BaseException) -> NoReturn:
        """Report why this process ends, here and to the others, and end it."""
        if is_lost_connection(error):
            time.sleep(VERDICT_SECONDS)  # another one ended: the hub says which, and ends this one
        self._ending.acquire()  # for good, here and in `_lost`: one line is enough
        line = one_line(str(error)) or type(error).__name__
        with contextlib.suppress(Exception):
            self._say({"failed": line})
        if not isinstance(error, InputError | KeyboardInterrupt):
            sys.excepthook(type(error), error, error.__traceback__)
        interrupted = isinstance(error, KeyboardInterrupt)
        self._end(line, getattr(error, "exit_code", 130 if interrupted else 1))

    def _say(self, message: dict[str, Any]) -> None:
        sent = asyncio.run_coroutine_threadsafe(send(self._writer, message), self._loop)
        with contextlib.suppress(*BROKEN):  # the thread hears of it too, and knows what to do
            wait(sent)

    def _end(self, line: str, code: int) -> NoReturn:
        report_error(line)
        for worker in multiprocessing.active_children():
            with contextlib.suppress(OSError):
                worker.terminate()
        if self.number == 0:
            time.sleep(2 * BEAT_SECONDS)  # the hub ends with this process: let all hear of it
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._main = self._loop.create_task(self._live())
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._main)
        # Python 3.11 would report each connection that is still open as a failure.
        self._loop.set_exception_handler(lambda *_: None)
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _live(self) -> None:
        try:
            await self._meet()
        except InputError as error:
            self._joined.set_exception(error)
            return
        except BROKEN as error:
            self._joined.set_exception(
                InputError(f"{self._name} is no process 0 of such a run ({one_line(error)})")
            )
            return
        self._joined.set_result(None)
        beating = asyncio.create_task(self._beat())
        try:
            await self._listen()
        except BROKEN:
            if not self._over.done():
                self._lost(0, "cannot be reached")
        finally:
            beating.cancel()

    @property
    def _name(self) -> str:
        return "--coordinator {}:{}".format(*self._place)

    async def _meet(self) -> None:
        if self.number == 0:
            port = free_port()
            self._hub = Hub(self.count, self._run, self._key, port)
            try:
                await self._hub.open(*self._place, JOIN_SECONDS)
            except OSError as error:
                raise InputError(
                    f"{self._name}: cannot listen there ({error.strerror}); name an address of "
                    "process 0's machine and a free port, the same for all processes"
                ) from None
            self.coordinator = f"127.0.0.1:{port}"
        else:
            self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
            self.coordinator = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._reader, self._writer, nonce = await self._reach()
        hello = {"number": self.number, "count": self.count, "run": self._run}
        await send(self._writer, hello | {"proof": proof(self._key, nonce, self.number)})
        answer = await receive(self._reader)
        self._token = answer.get("token", "")
        beating = asyncio.create_task(self._beat())
        try:
            while "complete" not in answer:
                if "refused" in answer:
                    raise InputError(f"{self._name}: {answer['refused']}")
                if "lost" in answer:
                    self._lost(answer["lost"], answer["what"])
                self._silent = 0
                answer = await receive(self._reader)
        finally:
            beating.cancel()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
        deadline = self._loop.time() + JOIN_SECONDS
        while True:
            try:
                reader, writer = await asyncio.open_connection(*self._place)
                nonce = str((await receive(reader, HELLO_BYTES))["nonce"])
            except (OSError, EOFError) as error:
                if self._loop.time() > deadline:
                    raise InputError(
                        f"{self._name}: process 0 does not answer there ({one_line(error)})"
                    ) from None
                await asyncio.sleep(0.2)  # it may not have started yet
            except KeyError:
                raise ValueError("it does not speak as one") from None
            else:
                return reader, writer, nonce

    async def _listen(self) -> None:
        while True:
            message = await receive(self._reader)
            self._silent = 0
            if "gathered" in message:
                self._results.pop(message["gathered"]).set_result(message["values"])
            elif "lost" in message:
                self._lost(message["lost"], message["what"])
            elif "stop" in message:
                await send(self._writer, {"at": self.agreement.hold()})
            elif "stop_after" in message:
                self.agreement.decide(message["stop_after"])
            elif "over" in message:
                self._over.set_result(None)

    async def _beat(self) -> None:
        self._silent = 0
        while self._silent < SILENT_BEATS:  # beats, as in the hub
            await asyncio.sleep(BEAT_SECONDS)
            self._silent += 1
            with contextlib.suppress(*BROKEN):
                await send(self._writer, {"beat": True})
        self._lost(0, f"has been silent for {SILENT_BEATS * BEAT_SECONDS:.0f} s")

    def _lost(self, number: int, what: str) -> None:
        line = f"process {number} of this run {what}; this one ends too: start all of them again"
        if self._ending.acquire(blocking=False):
            self._end(line, ProcessLostError.exit_code)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await relay(reader, writer, self._place, self._token)
