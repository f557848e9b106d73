"""What the processes of a run send each other: JSON, the length of each message before it."""

import asyncio
import hashlib
import hmac
import json
import socket
import struct
from typing import Any

KEY = "CDDFUSE_RUN_KEY"  # in the environment: a secret of the run
HELLO_BYTES = 4096  # nobody is believed more before it has said who it is
MESSAGE_BYTES = 2**30  # the scores of a share of a folder are some megabytes
_LENGTH = struct.Struct("!I")

Message = dict[str, Any]
# What asyncio raises where the other side is gone, or is none of ours.
BROKEN = (OSError, EOFError, ValueError)


async def send(writer: asyncio.StreamWriter, message: Message) -> None:
    """Send a message; return when the network has taken it."""
    body = json.dumps(message).encode()
    writer.write(_LENGTH.pack(len(body)) + body)
    await writer.drain()


async def receive(reader: asyncio.StreamReader, most: int = MESSAGE_BYTES) -> Message:
    """Return the next message.

    Raises:
        EOFError: the other side is gone.
        ValueError: what came is no message, or one of more than ``most`` bytes.
    """
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > most:
        raise ValueError(f"a message of {length} bytes")
    body = await reader.readexactly(length)
    try:
        message = json.loads(body)
    except RecursionError:  # brackets by the thousand
        message = None
    if not isinstance(message, dict):
        raise ValueError("no message")
    return message


def same(given: object, expected: str) -> bool:
    """Compare what may be anything with a secret, in a time that tells nothing of it."""
    return isinstance(given, str) and hmac.compare_digest(given.encode(), expected.encode())


def proof(key: str, nonce: str, number: int) -> str:
    """Return what only a process that knows the run's key can answer to ``nonce``."""
    return hmac.new(key.encode(), f"{nonce} {number}".encode(), hashlib.sha256).hexdigest()


def free_port() -> int:
    """Return a port that nobody listens on here."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
