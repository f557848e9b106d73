"""Writing a video, frame by frame at their times, with a copy of another file's sound."""

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import UInt8

from cddfuse_jax.console import report
from cddfuse_jax.errors import InputError
from cddfuse_jax.images.video_frames import av, opened


class Writer:
    """A video file of one size: H.264 (MPEG-4 where that is missing), 4:2:0.

    That needs even sides: an odd one is extended by repeating its last row or column.

    Args:
        path: the file.
        rate: frames per second, at least in the mean.
        tick: seconds of which the frames' times are multiples.
        size: (height, width) of the frames.
        aspect: width of a pixel over its height.
    """

    def __init__(
        self,
        path: Path,
        rate: Fraction,
        tick: Fraction,
        size: tuple[int, int],
        aspect: Fraction = Fraction(1),
    ):
        self._size = size
        try:
            self._container: Any = cast(Any, av.open(str(path), "w"))
            codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
            self._stream = self._container.add_stream(codec, rate=rate)
        except (av.error.FFmpegError, ValueError) as error:
            raise InputError(
                f"{path.suffix}: no video format ({error}); name --out *.mp4 or *.mkv"
            ) from None
        self._stream.height, self._stream.width = (side + side % 2 for side in size)
        self._stream.pix_fmt = "yuv420p"
        self._tick = tick if codec == "libx264" else tick.limit_denominator(65535)
        self._stream.codec_context.time_base = self._tick
        self._stream.codec_context.sample_aspect_ratio = aspect
        # The matrix of the conversion from RGB below: without it players of HD assume BT.709.
        self._stream.codec_context.colorspace = av.video.reformatter.Colorspace.ITU601
        self._stream.options = {"crf": "18"} if codec == "libx264" else {"qscale": "3"}
        if path.suffix.lower() == ".avi":  # which holds no times, but an order and a rate
            self._stream.codec_context.max_b_frames = 0
            if tick * rate != 1:
                raise InputError(".avi holds no uneven times; name --out *.mp4 or *.mkv")
        self._sound: Any = None
        self._packets: Iterator[tuple[Any, float]] = iter(())

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

    def copy_sound(self, source: Path, start: Fraction, out: Path) -> None:
        """Copy the first sound stream of a file along with the frames, from its time ``start`` on.

        What ``out`` cannot hold is left out, with a warning.
        """
        self._sound = opened(source)
        stream = self._sound.streams.audio[0]
        try:
            copy = self._container.add_stream_from_template(stream)
        except (av.error.FFmpegError, ValueError) as error:
            report(f"warning: {out}: without sound, {out.suffix} cannot hold it ({error})")
            return
        self._packets = _moved(self._sound.demux(stream), copy, start)

    def write(
        self, image: UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"], seconds: Fraction
    ) -> None:
        """Append one frame, grey or RGB, at a time since the first."""
        if image.shape[:2] != self._size:
            sizes = " and ".join(
                f"{width}x{height}" for height, width in (self._size, image.shape[:2])
            )
            raise InputError(f"all frames must have one size, got {sizes}")
        colour = image if image.ndim == 3 else np.repeat(image[..., None], 3, -1)
        even = [(0, side % 2) for side in self._size]
        frame = av.VideoFrame.from_ndarray(np.pad(colour, [*even, (0, 0)], mode="edge"), "rgb24")
        frame.pts, frame.time_base = round(seconds / self._tick), self._tick
        self._container.mux(self._stream.encode(frame))
        self._mux_sound(float(seconds))

    def _mux_sound(self, until: float) -> None:
        """Write sound up to a time in seconds, so that both streams interleave."""
        for packet, seconds in self._packets:
            self._container.mux(packet)
            if seconds > until:
                return


def _moved(packets, stream, start: Fraction) -> Iterator[tuple[Any, float]]:
    """Yield packets for another stream, and their seconds from ``start`` on."""
    for packet in packets:
        if packet.dts is None or packet.pts is None:
            continue
        # The packet before the start is kept, for decoders need it.
        if (packet.pts + 2 * (packet.duration or 0)) * packet.time_base <= start:
            continue
        shift = round(start / packet.time_base)
        packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
        yield packet, float(packet.pts * packet.time_base)
