"""A video file as frames, taken only where all that it says of its frames is understood.

The gate is `VideoFrames`: it decodes every frame once before any is used. What the file says is
honoured (times, display matrix, shape of pixels, sound) or refused with ffmpeg's line that makes
it plain; nothing is guessed.
"""

import itertools
import shlex
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from cddfuse_jax.console import progress, report
from cddfuse_jax.errors import InputError, install, one_line
from cddfuse_jax.images.frames import Frame

try:
    import av
    from av.sidedata.sidedata import Type
except ImportError:
    av = None  # type: ignore[assignment]

INSTALL = f"videos need PyAV: {install('video')}"
JITTER = Fraction(1, 10)  # of a frame: times that are off by no more are those of a constant rate
CUT = Fraction(1, 2)  # seconds that a header may promise beyond the last frame
_ATTACHED_PICTURE = 0x400  # disposition of FFmpeg: a cover
# Numbers of ITU-T H.273. Transfers of SDR; primaries near BT.709's; matrices that FFmpeg converts.
_SDR = (0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
_HDR = {16: "PQ", 18: "HLG"}
_PRIMARIES = (0, 1, 2, 3, 4, 5, 6, 7)
_MATRICES = (0, 1, 2, 3, 4, 5, 6, 7, 9)
_LIMITED = 1  # range of values, which FFmpeg undoes of colour alone
_TO_709 = "zscale=p=bt709:t=bt709:m=bt709:r=tv,format=yuv420p"
_TONE_MAP = "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=hable," + _TO_709


class VideoFrames:
    """The video stream of a file, upright; grey and 16-bit grey streams stay what they are.

    Attributes:
        path: the file.
        clock: the kind of container, whose times two files of one kind share.
        times: of every frame in seconds, as the file has them; of a constant rate, exactly so.
        rate: frames per second; the mean, where the rate is not constant.
        tick: seconds of which the times are multiples.
        size: (height, width) of the upright frames.
        aspect: width of an upright pixel over its height.
        has_sound: whether the file has a sound stream.

    Raises:
        InputError: PyAV is missing; the file is no video, broken, or says what is not understood.
    """

    def __init__(self, path: Path):
        if av is None:
            raise InputError(INSTALL)
        self.path, self.dropped = path, 0
        with opened(path) as container:
            stream = picture_stream(path, container)
            self.clock = container.format.name
            self.has_sound = bool(container.streams.audio)
            found = progress(self._decoded(container, stream), f"checking {path.name}",
                             total=stream.frames or None, unit="frame", leave=False)  # fmt: skip
            first, seconds = None, []
            for frame in found:
                seconds.append(frame.pts if frame.pts is None else frame.pts * frame.time_base)
                if first is None:
                    first = self._understood(frame, stream)
                elif self._understood(frame, stream) != first:
                    size = f"{frame.width}x{frame.height}"
                    self._refuse("its frames change (size, direction or shape of pixels)",
                                 f"-vf scale={size.replace('x', ':')},setsar=1")  # fmt: skip
            if first is None:
                raise InputError(f"{path}: no frame of it can be decoded")
            self.size, self.aspect, self._matrix = first
            self.tick = Fraction(stream.time_base)
            self.times, self.rate, constant = self._timed(seconds, stream)
            missing = self._promised(container) - self.times[-1] - 1 / self.rate
            alpha = any(part.is_alpha for part in stream.codec_context.format.components)
        if constant:
            self.tick = 1 / self.rate
        if self.dropped:
            report(f"note: {path}: {self.dropped} packets without a frame")
        if missing > CUT:
            report(f"note: {path}: ends {float(missing):.1f} s before its header says; was it cut?")
        if alpha:
            report(f"note: {path}: alpha dropped")
        if self._matrix != (1, 0, 0, 1):
            report(f"note: {path}: turned upright as the file says")

    def __iter__(self) -> Iterator[Frame]:
        with opened(self.path) as container:
            frames = self._decoded(container, picture_stream(self.path, container))
            for time, frame in zip(self.times, frames, strict=True):
                yield Frame(_turned(_pixels(frame), self._matrix), float(time), self.path)

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        """Yield whole frames; count the packets without, such as those before a key frame."""
        stream.thread_type = "AUTO"
        stream.codec_context.options = {"err_detect": "explode"}  # or damage is hidden
        packets = shown = 0
        keyed = False
        try:
            for packet in container.demux(stream):
                keyed |= packet.is_keyframe
                packets += packet.size > 0 and not packet.is_discard
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    if shown or keyed:
                        raise
                    continue  # before the first key frame
                for frame in frames:
                    if not frame.is_corrupt:
                        shown += 1
                        yield frame
        except av.error.FFmpegError as error:
            self._refuse(f"is damaged ({one_line(error)}), which ffmpeg may conceal", "")
        self.dropped = max(0, packets - shown)

    def _refuse(self, what: str, options: str, before: str = "") -> None:
        out = self.path.with_name(f"{self.path.stem}-plain.mp4")
        files = [shlex.quote(str(file)) for file in (self.path, out)]
        words = ["ffmpeg", before, "-i", files[0], options, files[1]]
        raise InputError(f"{self.path}: {what}; first {' '.join(filter(None, words))}")

    def _understood(self, frame: Any, stream: Any) -> tuple:
        """Return a frame's upright size, shape of pixels and display matrix, if all is plain."""
        codec = stream.codec_context
        if frame.interlaced_frame:
            self._refuse("is interlaced, two moments in a frame", "-vf bwdif=send_frame")
        if (transfer := int(codec.color_trc)) not in _SDR:
            what = f"HDR ({_HDR[transfer]})" if transfer in _HDR else f"of transfer {transfer}"
            self._refuse(f"is {what}, not SDR", f"-vf {_TONE_MAP}")
        if int(codec.color_primaries) not in _PRIMARIES or int(frame.colorspace) not in _MATRICES:
            self._refuse("has colours of another kind than BT.709 and BT.601", f"-vf {_TO_709}")
        if getattr(codec, "coded_side_data", {}).get("frame_cropping"):  # from PyAV 19 on
            self._refuse("is cropped by its container, which ffmpeg 7.1 does", "")
        # 0 is none, and 8 is of streams of which one view is decoded.
        if (views := frame.side_data.get(Type.STEREO3D)) and 0 < bytes(views)[0] < 8:
            only = "-vf crop=iw/2:ih:0:0,sidedata=delete:type=STEREO3D"
            self._refuse("is stereo, two views in a frame; where the left half is one", only)
        matrix = (1, 0, 0, 1)
        if data := frame.side_data.get(Type.DISPLAYMATRIX):
            a, b, _, c, d, *_ = np.frombuffer(bytes(data), np.int32) / 65536
            matrix = round(a), round(b), round(c), round(d)
            straight = np.abs(np.array([a, b, c, d]) - matrix).max() < 1e-3
            if not straight or abs(a * d) + abs(b * c) != 1 or a * b or c * d:
                self._refuse("is shown at an angle or scaled", "")
        aspect = stream.sample_aspect_ratio or codec.sample_aspect_ratio or Fraction(1)
        size = frame.height, frame.width
        if not matrix[0]:
            size, aspect = size[::-1], 1 / aspect
        return size, Fraction(aspect), matrix

    def _timed(self, seconds: list, stream: Any) -> tuple[list[Fraction], Fraction, bool]:
        """Return the frames' times, their rate, and whether it is constant."""
        rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        if None in seconds:
            self._refuse("its frames have no times; where they came at 25 per second", "", "-r 25")
        if any(after <= before for before, after in itertools.pairwise(seconds)):
            self._refuse("the times of its frames run backwards", f"-vf fps={rate}")
        rates = [rate]
        if len(seconds) > 1:
            rates.append(Fraction(len(seconds) - 1) / (seconds[-1] - seconds[0]))
        for rate in rates:
            even = [seconds[0] + number / rate for number in range(len(seconds))]
            if max(abs(a - b) for a, b in zip(seconds, even, strict=True)) <= JITTER / rate:
                return even, rate, True
        return seconds, rates[-1], False

    def _promised(self, container: Any) -> Fraction:
        """Return when the container's header says that it ends, if that is of the images alone."""
        if not container.duration or len(container.streams) > 1 or "mpegts" in self.clock:
            return Fraction(0)
        start = 0 if "matroska" in self.clock else container.start_time or 0  # counted there
        return Fraction(container.duration + start, av.time_base)

    def refuse_shape(self, other: Path) -> None:
        """Refuse the file because its pixels have another shape than those of the other side."""
        height, width = self.size
        wide = max(2, round(width * self.aspect / 2) * 2)
        self._refuse(f"its pixels are {self.aspect} as wide as high, those of {other} are not",
                     f"-vf scale={wide}:{height},setsar=1")  # fmt: skip


def opened(path: Path):
    """Open a container for reading, and make sure that it has a video stream."""
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(f"{path}: not a video that can be read ({one_line(error)})") from None
    if not container.streams.video:
        container.close()
        raise InputError(f"{path}: has no video stream")
    return container


def picture_stream(path: Path, container: Any) -> Any:
    """Return the one video stream of a container, covers apart."""
    streams = [s for s in container.streams.video if not int(s.disposition) & _ATTACHED_PICTURE]
    if len(streams) != 1:
        raise InputError(
            f"{path}: has {len(streams)} video streams; first take one out, as ffmpeg -i "
            f"{shlex.quote(str(path))} -map 0:v:1 -map '0:a?' -c copy "
            f"{shlex.quote(str(path.with_name(path.stem + '-1' + path.suffix)))}"
        )
    return streams[0]


def _turned(pixels: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Apply a display matrix: x' = ax + cy, y' = bx + dy, with y down."""
    a, b, c, d = matrix
    if not a:
        pixels = pixels.swapaxes(0, 1)
    return np.ascontiguousarray(pixels[:: b + d, :: a + c])


def _pixels(frame) -> np.ndarray:
    bits = frame.format.components[0].bits
    if frame.format.name.startswith("gray"):  # FFmpeg shifts fewer bits than 16 up
        counts = frame.to_ndarray(format="gray16le" if bits > 8 else "gray")
        if bits == 8 and frame.color_range == _LIMITED:  # black is 16, and white 235
            return np.rint((counts.clip(16, 235) - 16.0) * (255 / 219)).astype(np.uint8)
        return counts >> (16 - bits) if 8 < bits < 16 else counts
    if bits > 8:  # FFmpeg's own way to 8 bits is off by two levels
        return np.rint(frame.to_ndarray(format="rgb48le") / 257).astype(np.uint8)
    return frame.to_ndarray(format="rgb24")
