"""JAX's own connections to its coordinator, passed on by way of the hub."""

import asyncio
import contextlib

from cddfuse_jax.distributed.messages import BROKEN, HELLO_BYTES, receive, send

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def pass_on(one: Line, other: Line) -> asyncio.StreamWriter:
    """Pass bytes on both ways until one side ends; return the writer to the other side."""
    ways = {
        asyncio.create_task(_pump(one[0], other[1])): other[1],
        asyncio.create_task(_pump(other[0], one[1])): one[1],
    }
    ended, going = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    for way in going:
        way.cancel()
    await asyncio.gather(*ways, return_exceptions=True)
    return ways[ended.pop()]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(2**16):
        writer.write(piece)
        await writer.drain()


async def relay(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, place: tuple[str, int], token: str
) -> None:
    """Pass on what JAX's client says to the hub; keep its line open when the hub is gone.

    The client aborts the process the moment that its connection breaks. Kept waiting, it leaves the
    end to the `Member`, which says why.
    """
    with contextlib.suppress(*BROKEN):
        theirs, ours = await asyncio.open_connection(*place)
        await receive(theirs, HELLO_BYTES)
        await send(ours, {"token": token})
        if await pass_on((reader, writer), (theirs, ours)) is ours:  # the client has closed its own
            ours.close()
            writer.close()
            return
    await asyncio.Event().wait()
