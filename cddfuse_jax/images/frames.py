"""Frames in time order, from a video file or a folder of images, one at a time."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from cddfuse_jax.console import report
from cddfuse_jax.errors import InputError, install, one_line
from cddfuse_jax.images.image_files import READ, read_photo
from cddfuse_jax.images.listing import images_by_stem

try:
    import av
except ImportError:
    av = None  # type: ignore[assignment]

INSTALL = f"videos need PyAV: {install('video')}"


class Frame(NamedTuple):
    """Stored values, HxW or HxWx3, the time in seconds since the first frame, and the file."""

    pixels: np.ndarray
    seconds: float
    path: Path


class Frames(Protocol):
    """What `fuse_video` reads: how many frames, how fast, and the frames themselves."""

    path: Path
    count: int
    rate: Fraction

    def __iter__(self) -> Iterator[Frame]: ...


def open_frames(path: Path, rate: Fraction | None) -> Frames:
    """Open a video file, or a folder of frames that were taken at ``rate`` per second."""
    if path.is_dir():
        return FolderFrames(path, rate)
    return VideoFrames(path)


class FolderFrames:
    """The images of a folder as frames, sorted by name."""

    def __init__(self, path: Path, rate: Fraction | None):
        self.path, self.files = path, list(images_by_stem(path).values())
        if not self.files:
            raise InputError(f"{path}: no frames; {READ} are read")
        if rate is None:
            raise InputError(f"{path}: a folder has no frame rate; give --fps")
        self.count, self.rate = len(self.files), rate

    def __iter__(self) -> Iterator[Frame]:
        for number, file in enumerate(self.files):
            photo = read_photo(file)
            for note in photo.notes if not number else ():
                report(f"note: {file}: {note}")
            yield Frame(photo.pixels, float(number / self.rate), file)


class VideoFrames:
    """The first video stream of a file; grey and 16-bit grey streams stay what they are.

    Raises:
        InputError: PyAV is missing, or the file is no video; from the iterator: it is broken.
    """

    def __init__(self, path: Path):
        if av is None:
            raise InputError(INSTALL)
        self.path = path
        with opened(path) as container:
            stream = container.streams.video[0]
            if not stream.average_rate:
                raise InputError(f"{path}: the video has no frame rate")
            self.rate = Fraction(stream.average_rate)
            # Counted, not believed: many files do not say, and packets are quickly skipped.
            self.count = sum(packet.size > 0 for packet in container.demux(stream))
            self.has_sound = bool(container.streams.audio)

    def __iter__(self) -> Iterator[Frame]:
        with opened(self.path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            first = None
            try:
                for number, frame in enumerate(container.decode(stream)):
                    time = number / self.rate if frame.time is None else frame.time
                    first = time if first is None else first
                    if frame.rotation % 360 and not number:
                        report(f"note: {self.path}: turned upright as the file says")
                    # Counterclockwise, as NumPy turns.
                    pixels = np.rot90(_pixels(frame), round(frame.rotation / 90))
                    yield Frame(np.ascontiguousarray(pixels), float(time - first), self.path)
            except av.error.FFmpegError as error:
                raise InputError(f"{self.path}: broken video ({one_line(error)})") from None


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


def _pixels(frame) -> np.ndarray:
    name = frame.format.name
    if name.startswith("gray"):
        deep = frame.format.components[0].bits > 8
        return frame.to_ndarray(format="gray16le" if deep else "gray")
    return frame.to_ndarray(format="rgb24")
