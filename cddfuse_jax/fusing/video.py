"""Fusing two streams of frames into a video, without flicker and in bounded memory."""

import concurrent.futures
import contextlib
import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, Shaped, UInt8

from cddfuse_jax.console import progress, report
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import UNWRITABLE, replacing
from cddfuse_jax.fusing.folder import BATCH, batch_size
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.fusing.pixels import Pixels
from cddfuse_jax.images import levels
from cddfuse_jax.images.frames import INSTALL, Frame, Frames, VideoFrames, av, opened
from cddfuse_jax.images.image_files import naming
from cddfuse_jax.images.ranges import Range
from cddfuse_jax.pairs import Resize
from cddfuse_jax.pairs.read import fitted

SMOOTHING_SECONDS = 1.0  # the stretch follows a change of light within about this time
RATE_TOLERANCE = 5e-4  # 29.97 and 30 frames per second differ, 29.97 and 30000/1001 do not


class SmoothedRange:
    """A range (low, high) that follows a measured one slowly, as an exponential mean in time.

    A range measured on every frame for itself jumps whenever something bright enters the picture,
    and the whole picture flickers with it.
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


def paired(visible: Frames, infrared: Frames, sync: bool) -> Iterator[tuple[Frame, Frame]]:
    """Yield pairs of frames: number by number, or with ``sync`` by time.

    With ``sync`` each visible frame gets the infrared frame nearest in time, and the end is where
    the shorter one ends. At most two infrared frames are held.

    Raises:
        InputError: without ``sync``, one has fewer frames than its header says.
    """
    if not sync:
        try:
            yield from zip(visible, infrared, strict=True)
        except ValueError:
            raise InputError(
                f"{visible.path} and {infrared.path} end at different frames; give --sync"
            ) from None
        return
    others = iter(infrared)
    current, following = next(others, None), next(others, None)
    for frame in visible:
        while following and following.seconds - frame.seconds <= frame.seconds - current.seconds:
            current, following = following, next(others, None)
        if current is None or frame.seconds > current.seconds + 1 / infrared.rate:
            return
        yield frame, current


def check_timing(visible: Frames, infrared: Frames, sync: bool) -> None:
    """Refuse streams of other rates or numbers of frames, unless they are to be synchronised."""
    differ = abs(visible.rate / infrared.rate - 1) > RATE_TOLERANCE
    if (differ or visible.count != infrared.count) and not sync:
        raise InputError(
            "both videos must have the same frames, "
            + " and ".join(
                f"{frames.path} has {frames.count} at {float(frames.rate):.5g} per second"
                for frames in (visible, infrared)
            )
            + "; give --sync to pair them by time"
        )


def fuse_video(
    fuser: Fuser,
    visible: Frames,
    infrared: Frames,
    out: Path,
    sync: bool = False,
    resize: Resize | None = None,
) -> int:
    """Fuse two streams to the video file ``out`` and return the number of its frames.

    Rate and size are those of the visible stream, sound is copied from the first that has any. The
    stretch of the fused luma, and the percentiles of deep frames, are smoothed over time. One pair
    of frames is in memory at a time, with an accelerator two batches.

    Raises:
        InputError: PyAV is missing, timing or sizes differ, a stream is broken, or ``out`` cannot
            hold video.
    """
    if av is None:
        raise InputError(INSTALL)
    check_timing(visible, infrared, sync)
    stretch, *smoothed_ranges = (SmoothedRange(visible.rate) for _ in range(3))
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

    def pictures(frames: tuple[Frame, Frame]) -> tuple[Pixels, Pixels]:
        sides = zip(frames, fuser.ranges, smoothed_ranges, strict=True)
        images = (picture(*side) for side in sides)
        names = visible.path, infrared.path
        return fitted(*images, fuser.registration or resize, names)[0]

    with replacing(out) as temporary, _naming_the_output(out), contextlib.ExitStack() as stack:
        writer = None
        pairs = progress(
            paired(visible, infrared, sync), "fusing", total=visible.count, unit="frame"
        )
        for images, luma in _computed(fuser, map(pictures, pairs)):
            spread = stretch.update(float(luma.min()), float(luma.max()))
            fused = levels.to_8_bit(fuser.finished(luma, *images, spread))
            if writer is None:
                writer = stack.enter_context(Writer(temporary, visible.rate, fused.shape[:2]))
                writer.copy_sound(_with_sound(visible, infrared), out)
            writer.write(fused)
            count += 1
        if writer is None:
            raise InputError(f"{visible.path} and {infrared.path} have no frames in common")
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
        raise InputError(f"cannot write {out}: {error}") from None


def _with_sound(*streams: Frames) -> Path | None:
    return next((s.path for s in streams if isinstance(s, VideoFrames) and s.has_sound), None)


class Writer:
    """A video file of one size and rate: H.264 (MPEG-4 where that is missing), 4:2:0.

    That needs even sides: an odd one is extended by repeating its last row or column.
    """

    def __init__(self, path: Path, rate: Fraction, size: tuple[int, int]):
        self._size = size
        try:
            self._container = av.open(str(path), "w")
            codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
            self._stream = self._container.add_stream(codec, rate=rate)
        except (av.error.FFmpegError, ValueError) as error:
            raise InputError(
                f"{path.suffix}: no video format ({error}); name --out *.mp4 or *.mkv"
            ) from None
        self._stream.height, self._stream.width = (side + side % 2 for side in size)
        self._stream.pix_fmt = "yuv420p"
        # What the conversion from RGB below does, declared, as players of HD assume BT.709.
        self._stream.codec_context.colorspace = av.video.reformatter.Colorspace.ITU601
        self._stream.options = {"crf": "18"} if codec == "libx264" else {"qscale": "3"}
        self._sound, self._packets = None, iter(())

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind, *_) -> None:
        try:
            if kind is None:
                self._mux_sound(math.inf)
                self._container.mux(self._stream.encode())
        finally:
            if self._sound:
                self._sound.close()
            self._container.close()

    def copy_sound(self, source: Path | None, out: Path) -> None:
        """Copy the first sound stream of a file along with the frames; leave it out if none."""
        if source is None:
            return
        self._sound = opened(source)
        stream = self._sound.streams.audio[0]
        try:
            copy = self._container.add_stream_from_template(stream)
        except (av.error.FFmpegError, ValueError) as error:
            report(f"warning: {out}: without sound, {out.suffix} cannot hold it ({error})")
            return
        self._packets = _moved(self._sound.demux(stream), copy)

    def write(self, image: UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"]) -> None:
        """Append one frame, grey or RGB."""
        if image.shape[:2] != self._size:
            sizes = " and ".join(
                f"{width}x{height}" for height, width in (self._size, image.shape[:2])
            )
            raise InputError(f"all frames must have one size, got {sizes}")
        colour = image if image.ndim == 3 else np.repeat(image[..., None], 3, -1)
        even = [(0, side % 2) for side in self._size]
        frame = av.VideoFrame.from_ndarray(np.pad(colour, [*even, (0, 0)], mode="edge"), "rgb24")
        self._container.mux(self._stream.encode(frame))
        written = self._stream.frames / float(self._stream.average_rate or self._stream.rate)
        self._mux_sound(written)

    def _mux_sound(self, until: float) -> None:
        """Write sound up to a time in seconds, so that both streams interleave."""
        for packet, seconds in self._packets:
            self._container.mux(packet)
            if seconds > until:
                return


def _moved(packets, stream) -> Iterator[tuple]:
    for packet in packets:
        if packet.dts is None:
            continue
        seconds = float(packet.pts * packet.time_base) if packet.pts is not None else 0.0
        packet.stream = stream
        yield packet, seconds
