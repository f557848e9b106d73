"""Fusing two streams of frames into a video, without flicker and in bounded memory."""

import concurrent.futures
import contextlib
import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, Shaped

from cddfuse_jax.console import progress, report
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import UNWRITABLE, replacing
from cddfuse_jax.fusing.folder import BATCH, batch_size
from cddfuse_jax.fusing.frame_pairs import FramePairs
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.fusing.pixels import Pixels
from cddfuse_jax.fusing.video_writer import Writer
from cddfuse_jax.images import levels
from cddfuse_jax.images.frames import Frame, Frames
from cddfuse_jax.images.image_files import naming
from cddfuse_jax.images.ranges import Range
from cddfuse_jax.images.video_frames import INSTALL, av
from cddfuse_jax.pairs import Resize
from cddfuse_jax.pairs.read import fitted

SMOOTHING_SECONDS = 1.0  # the stretch follows a change of light within about this time


class SmoothedRange:
    """A range (low, high) that follows a measured one slowly, as an exponential mean in time.

    A range measured on every frame for itself jumps whenever something bright enters the image,
    and the whole image flickers with it.
    """

    def __init__(self, rate: Fraction, seconds: float = SMOOTHING_SECONDS):
        self._keep = math.exp(-1 / (seconds * float(rate)))
        self._range: np.ndarray | None = None

    def update(self, low: float, high: float) -> tuple[float, float]:
        """Take one frame's range and return the smoothed one; the first is taken as it is."""
        measured = np.array([low, high], np.float64)
        if self._range is None:
            self._range = measured
        self._range = self._keep * self._range + (1 - self._keep) * measured
        return float(self._range[0]), float(self._range[1])


def paired(pairs: FramePairs) -> Iterator[tuple[Frame, Frame]]:
    """Yield the frames that go together; one of each side is held."""
    sides = zip(pairs[:2], zip(*pairs.matches, strict=True), strict=True)
    yield from zip(*itertools.starmap(_chosen, sides), strict=True)


def _chosen(frames: Frames, numbers: Sequence[int]) -> Iterator[Frame]:
    """Yield the frames of rising numbers, one as often as its number comes."""
    coming, number, frame = iter(frames), -1, None
    for wanted in numbers:
        while number < wanted:
            number, frame = number + 1, next(coming, None)
        if frame is None:
            raise InputError(f"{frames.path}: changed while it was read")
        yield frame


def fuse_video(fuser: Fuser, frames: FramePairs, out: Path, resize: Resize | None = None) -> int:
    """Fuse two streams to the video file ``out`` and return the number of its frames.

    Times and size are those of the visible stream, from its first frame on; sound is copied from
    the first stream that has any, as far from the images as it was. The stretch of the fused luma,
    and the percentiles of deep frames, are smoothed over time. One pair of frames is in memory at a
    time, on an accelerator two batches.

    Raises:
        InputError: PyAV is missing, a stream is broken, or ``out`` cannot hold video.
    """
    if av is None:
        raise InputError(INSTALL)
    visible = frames.visible
    stretch, *smoothed_ranges = (SmoothedRange(visible.rate) for _ in range(3))
    times = [visible.times[number] for number, _ in frames.matches]
    count = 0

    def picture(
        frame: Frame, given: Range, smoothed: SmoothedRange
    ) -> Shaped[np.ndarray, "h w *rgb"]:
        with naming(frame.path):
            limits = levels.limits_for(frame.pixels, given)
            if limits and not count:
                words = "its values {:.6g} to {:.6g} become 0 and 1 at first".format(*limits)
                report(f"note: {frame.path}: {words}")
            return levels.picture(frame.pixels, limits and smoothed.update(*limits))

    def pictures(pair: tuple[Frame, Frame]) -> tuple[Pixels, Pixels]:
        sides = zip(pair, fuser.ranges, smoothed_ranges, strict=True)
        images = (picture(*side) for side in sides)
        names = visible.path, frames.infrared.path
        return fitted(*images, fuser.registration or resize, names)[0]

    with replacing(out) as temporary, _naming_the_output(out), contextlib.ExitStack() as stack:
        writer = None
        pairs = progress(paired(frames), "fusing", total=len(times), unit="frame")
        for images, luma in _computed(fuser, map(pictures, pairs)):
            spread = stretch.update(float(luma.min()), float(luma.max()))
            fused = levels.to_8_bit(fuser.finished(luma, *images, spread))
            if writer is None:
                writer = stack.enter_context(
                    Writer(temporary, visible.rate, visible.tick, fused.shape[:2], visible.aspect)
                )
                if visible.has_sound:
                    writer.copy_sound(visible.path, times[0], out)
                elif frames.infrared.has_sound:
                    writer.copy_sound(frames.infrared.path, times[0] - frames.offset, out)
            writer.write(fused, times[count] - times[0])
            count += 1
    return count


def _computed(
    fuser: Fuser, pairs: Iterator[tuple[Pixels, Pixels]]
) -> Iterator[tuple[tuple[Pixels, Pixels], Float[np.ndarray, "h w"]]]:
    """Yield each pair of frames with its luma; accelerators compute batches of them, ahead."""
    first = next(pairs, None)
    if first is None:
        return
    pairs = itertools.chain([first], pairs)
    batch = batch_size(fuser.device or jax.local_devices()[0], [first[0].shape[:2]] * BATCH)
    if batch == 1:
        yield from ((pair, fuser.luma(*pair)) for pair in pairs)
        return

    def computed(some: list[tuple[Pixels, Pixels]]) -> Float[np.ndarray, "_n h w"]:
        grey = [(levels.network_input(a), levels.network_input(b)) for a, b in some]
        return fuser.fuse_grey_batch(grey, batch)

    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        before: list = []
        while some := list(itertools.islice(pairs, batch)):
            after = [some, executor.submit(computed, some)]
            if before:
                yield from zip(before[0], before[1].result(), strict=True)
            before = after
        yield from zip(before[0], before[1].result(), strict=True)


@contextlib.contextmanager
def _naming_the_output(out: Path) -> Iterator[None]:
    try:
        yield
    except av.error.FFmpegError as error:
        if error.errno in UNWRITABLE:  # for `replacing`, which says so
            raise
        raise InputError(f"cannot write {out} ({error}); name --out *.mp4 or *.mkv") from None
