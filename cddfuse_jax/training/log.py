"""What a training run tells: TensorBoard, progress, a line per epoch, and that it went wrong."""

import math
import struct
import time
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array, Float, UInt8
from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event

from cddfuse_jax.console import progress, report
from cddfuse_jax.errors import InputError
from cddfuse_jax.images.image_files import write_png


class NonFiniteError(InputError):
    """A loss part or a gradient is not a finite number, so the run cannot go on."""

    exit_code = 1


class TrainLog:
    """Takes every update's metrics in order; to be used as a context manager.

    The metrics of an update are read when the next one has been started, so that the device does
    not wait for the host; `flush` reads what is left. Of several processes one ``writes``, but all
    read, so that all end at the same update when its metrics are not finite.
    """

    def __init__(
        self,
        workdir: Path,
        steps_per_epoch: int,
        total: int,
        start: int,
        every: int,
        writes: bool = True,
    ):
        self.workdir, self.steps_per_epoch, self.every = workdir, steps_per_epoch, every
        self.writes = writes
        self._writer = SummaryWriter(str(workdir / "tensorboard")) if writes else None
        self._bar = progress(None, "training", total=total, initial=start, unit="step")
        self._pending: tuple | None = None
        self._sums: dict[str, float] = {}
        self._count = 0
        self._clock, self._clock_pairs = time.perf_counter(), 0

    def __enter__(self) -> "TrainLog":
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()
        if self._writer:
            self._writer.close()

    def update(
        self, step: int, stage: str, metrics: dict[str, Float[Array, ""]], pairs: int
    ) -> None:
        """Note the metrics of update number ``step`` (from 1), made on ``pairs`` pairs.

        Raises:
            NonFiniteError: those of the update before are not finite.
        """
        previous, self._pending = self._pending, (step, stage, metrics, pairs)
        self._read(previous)

    def flush(self) -> None:
        """Read the metrics of the last update.

        Raises:
            NonFiniteError: they are not finite.
        """
        previous, self._pending = self._pending, None
        self._read(previous)

    def held_out(self, step: int, stage: str, losses: dict[str, float]) -> None:
        """Write the losses on held-out pairs after update number ``step``."""
        report(
            f"held-out pairs after step {step} ({stage}): "
            + ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
        )
        if self._writer:
            for name, value in losses.items():
                self._writer.add_scalar(f"held_out/{stage}/{name}", value, step)
            self._writer.flush()

    def picture(self, step: int, picture: UInt8[np.ndarray, "height width"]) -> Path:
        """Write a picture as PNG and to TensorBoard; return the file's path."""
        path = self.workdir / "pictures" / f"step_{step:06d}.png"
        write_png(path, picture)
        if self._writer:
            self._writer.add_image("decomposition", picture, step, dataformats="HW")
        return path

    def _read(self, pending: tuple | None) -> None:
        if pending is None:
            return
        step, stage, metrics, pairs = pending
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        epoch = (step - 1) // self.steps_per_epoch
        if bad := [name for name, value in values.items() if not math.isfinite(value)]:
            raise NonFiniteError(
                f"not finite in stage {stage}, epoch {epoch}, step {step}: {', '.join(bad)}; the "
                "last good checkpoint is kept: lower the learning rate or look at that batch"
            )
        losses = {name: value for name, value in values.items() if "/" not in name}
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        self._clock_pairs += pairs
        self._bar.update()
        self._bar.set_postfix({name: f"{value:.3g}" for name, value in losses.items()}, False)
        if self._writer and (step % self.every == 0 or step == 1):
            self._write_scalars(self._writer, step, stage, values)
        if step % self.steps_per_epoch == 0:
            means = ", ".join(f"{name} {s / self._count:.4g}" for name, s in self._sums.items())
            report(f"epoch {epoch} ({stage}): {means}")
            self._sums, self._count = {}, 0

    def _write_scalars(
        self, writer: SummaryWriter, step: int, stage: str, values: dict[str, float]
    ) -> None:
        elapsed = time.perf_counter() - self._clock
        writer.add_scalar("pairs_per_second", self._clock_pairs / elapsed, step)
        self._clock, self._clock_pairs = time.perf_counter(), 0
        for name, value in values.items():
            tag = name if "/" in name else f"{stage}/{name}"
            writer.add_scalar(tag, value, step)
        writer.flush()


def read_scalars(workdir: Path) -> dict[str, dict[int, float]]:
    """Read what `TrainLog` wrote for TensorBoard: tag, then step, to value.

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
