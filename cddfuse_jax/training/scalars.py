"""TensorBoard's files: scalars and pictures of a run, written in the thread that has them."""

import contextlib
import itertools
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from tensorboardX import RecordWriter, summary
from tensorboardX.proto.event_pb2 import Event

from cddfuse_jax.errors import WriteError

_numbers = itertools.count()


class ScalarsFile:
    """One run's new file for TensorBoard, made when there is something to write.

    `tensorboardX.SummaryWriter` hands its events to a thread: on a full disk that thread dies, and
    whoever hands on the eleventh event waits for ever.
    """

    def __init__(self, folder: Path):
        unique = f"{int(time.time())}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self._path = folder / f"events.out.tfevents.{unique}"
        self._writer: RecordWriter | None = None

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Add a scalar of a step.

        Raises:
            WriteError: the disk is full or read-only.
        """
        said = summary.scalar(tag, value)
        self._write(Event(wall_time=time.time(), step=step, summary=said))

    def picture(self, tag: str, picture: UInt8[np.ndarray, "height width"], step: int) -> None:
        """Add a grey picture of a step.

        Raises:
            WriteError: the disk is full or read-only.
        """
        said = summary.image(tag, picture, dataformats="HW")
        self._write(Event(wall_time=time.time(), step=step, summary=said))

    def flush(self) -> None:
        """Have all of it on the disk.

        Raises:
            WriteError: the disk is full or read-only.
        """
        with self._failing_in_a_line():
            if self._writer:
                self._writer.flush()

    def close(self) -> None:
        """Write the rest.

        Raises:
            WriteError: the disk is full or read-only.
        """
        with self._failing_in_a_line():
            if self._writer:
                self._writer.close()

    def _write(self, event: Event) -> None:
        with self._failing_in_a_line():
            if self._writer is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._writer = RecordWriter(str(self._path))
                first = Event(wall_time=time.time(), file_version="brain.Event:2")
                self._writer.write(first.SerializeToString())
            self._writer.write(event.SerializeToString())

    @contextlib.contextmanager
    def _failing_in_a_line(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise WriteError(
                f"{self._path.parent} could not be written ({error.strerror or error}); "
                "checkpoints already saved are whole: make room and give the same command again"
            ) from None


def read_scalars(workdir: Path) -> dict[str, dict[int, float]]:
    """Read what runs in ``workdir`` wrote for TensorBoard: tag, then step, to value.

    Where a resumed run repeated steps, the later file counts.
    """
    found: dict[str, dict[int, float]] = {}
    for file in sorted((workdir / "tensorboard").iterdir()):
        data = file.read_bytes()
        while data:  # records: length, checksum, event, checksum
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            for value in event.summary.value:
                if value.WhichOneof("value") == "simple_value":
                    found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found
