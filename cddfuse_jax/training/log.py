"""What a training run tells: TensorBoard, progress, a line per epoch, and that it went wrong."""

import contextlib
import math
import time
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array, Float, UInt8

from cddfuse_jax.console import progress, report
from cddfuse_jax.errors import InputError, WriteError
from cddfuse_jax.images.image_files import write_png
from cddfuse_jax.training.scalars import ScalarsFile


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
        chips: int = 1,
        flops_per_pixel: Mapping[str, float] | None = None,
        peak: float | None = None,
    ):
        """Make a log.

        Args:
            workdir: takes the scalars and pictures.
            steps_per_epoch: updates in an epoch.
            total: updates of the whole run.
            start: updates made already.
            every: how many updates a scalar is the mean of.
            writes: whether this process does.
            chips: devices that share each batch.
            flops_per_pixel: that an update needs per pixel of a pair, by the stage's name.
            peak: flops a second of a chip; None where they are not known.
        """
        self.workdir, self.steps_per_epoch, self.every = workdir, steps_per_epoch, every
        self.writes, self.chips, self.peak = writes, chips, peak
        self.flops_per_pixel = flops_per_pixel or {}
        self._writer = ScalarsFile(workdir / "tensorboard") if writes else None
        self._bar = progress(None, "training", total=total, initial=start, unit="step")
        self._pending: tuple | None = None
        self._sums: dict[str, float] = {}
        self._count = 0
        self._restart_clock()

    def __enter__(self) -> "TrainLog":
        return self

    def __exit__(self, kind, *_) -> None:
        self._bar.close()
        if self._writer:
            # What ended the run is told, and not that its last scalars had no room either.
            with contextlib.suppress(*([WriteError] if kind else [])):
                self._writer.close()

    def update(
        self,
        step: int,
        stage: str,
        metrics: dict[str, Float[Array, ""]],
        pairs: int,
        pixels: int = 0,
        waited: float = 0.0,
    ) -> None:
        """Note the metrics of update number ``step`` (from 1), made on ``pairs`` pairs.

        Each is of ``pixels`` pixels, and they were waited for ``waited`` seconds.

        Raises:
            NonFiniteError: those of the update before are not finite.
        """
        previous, self._pending = self._pending, (step, stage, metrics, pairs, pixels, waited)
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
                self._writer.scalar(f"held_out/{stage}/{name}", value, step)
            self._writer.flush()

    def picture(self, step: int, picture: UInt8[np.ndarray, "height width"]) -> Path:
        """Write a picture as PNG and to TensorBoard; return the file's path."""
        path = self.workdir / "pictures" / f"step_{step:06d}.png"
        write_png(path, picture)
        if self._writer:
            self._writer.picture("decomposition", picture, step)
        return path

    def _read(self, pending: tuple | None) -> None:
        if pending is None:
            return
        step, stage, metrics, pairs, pixels, waited = pending
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
        self._clock_steps += 1
        self._clock_pairs += pairs
        self._clock_pixels += pairs * pixels
        self._clock_waited += waited
        self._bar.update()
        shown = {name: f"{value:.3g}" for name, value in losses.items()}
        if "lr/encoder" in values:
            shown["rate"] = f"{values['lr/encoder']:.3g}"
        self._bar.set_postfix(shown, refresh=False)
        if self._writer and (step % self.every == 0 or step == 1):
            self._write_scalars(self._writer, step, stage, values)
        if step % self.steps_per_epoch == 0:
            means = ", ".join(f"{name} {s / self._count:.4g}" for name, s in self._sums.items())
            report(f"epoch {epoch} ({stage}): {means}")
            self._sums, self._count = {}, 0

    def _write_scalars(
        self, writer: ScalarsFile, step: int, stage: str, values: dict[str, float]
    ) -> None:
        for tag, value in self._speed(stage).items():
            writer.scalar(tag, value, step)
        self._restart_clock()
        for name, value in values.items():
            tag = name if "/" in name else f"{stage}/{name}"
            writer.scalar(tag, value, step)
        writer.flush()

    def _restart_clock(self) -> None:
        self._clock = time.perf_counter()
        self._clock_steps = self._clock_pairs = self._clock_pixels = 0
        self._clock_waited = 0.0

    def _speed(self, stage: str) -> dict[str, float]:
        """Return how fast updates were since the clock was started."""
        elapsed = time.perf_counter() - self._clock
        speed = {
            "pairs_per_second": self._clock_pairs / elapsed,
            "speed/pairs_per_second_and_chip": self._clock_pairs / elapsed / self.chips,
            "speed/step_seconds": elapsed / self._clock_steps,
            "speed/input_wait_seconds": self._clock_waited / self._clock_steps,
        }
        if self.peak and stage in self.flops_per_pixel:
            needed = self._clock_pixels * self.flops_per_pixel[stage]
            speed["speed/model_flops_utilisation"] = needed / elapsed / self.chips / self.peak
        return speed
