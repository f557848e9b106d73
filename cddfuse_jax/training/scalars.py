"""TensorBoard's files: scalars and images of a run.

Not `tensorboardX.SummaryWriter`: its thread dies on a full disk, and the run then waits for ever.
"""

import itertools
import os
import socket
import time
from pathlib import Path
from typing import Any

from tensorboardX import RecordWriter, summary
from tensorboardX.proto.event_pb2 import Event

from cddfuse_jax.errors import WriteError

_numbers = itertools.count()


class ScalarsFile:
    """One run's new file for TensorBoard, made when there is something to write.

    Every method raises `WriteError` where the disk is full or read-only.
    """

    def __init__(self, folder: Path):
        unique = f"{int(time.time())}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self._path = folder / f"events.out.tfevents.{unique}"
        self._writer: RecordWriter | None = None

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Add the scalars of a step, by tag."""
        self._write([summary.scalar(tag, value) for tag, value in values.items()], step)

    def picture(self, tag: str, picture: Any, step: int) -> None:
        """Add a grey uint8 image of a step, (height, width)."""
        self._write([summary.image(tag, picture, dataformats="HW")], step)

    def close(self) -> None:
        """Let go of the file."""
        if self._writer:
            self._writer.close()

    def _write(self, summaries: list[Any], step: int) -> None:
        try:
            if self._writer is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._writer = RecordWriter(str(self._path))
                first = Event(wall_time=time.time(), file_version="brain.Event:2")
                self._writer.write(first.SerializeToString())
            for each in summaries:
                event = Event(wall_time=time.time(), step=step, summary=each)
                self._writer.write(event.SerializeToString())
            self._writer.flush()
        except OSError as error:
            raise WriteError(
                f"{self._path.parent} could not be written ({error.strerror or error}); "
                "checkpoints already saved are whole: make room and give the same command again"
            ) from None
