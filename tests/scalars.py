"""Reading what runs wrote for TensorBoard."""

import struct
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event


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
