"""Frames in time order, from images or pages of a TIFF, one at a time."""

import contextlib
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

from cddfuse_jax.console import report
from cddfuse_jax.images.image_files import read_photo, read_size


class Frame(NamedTuple):
    """Stored values, HxW or HxWx3, the time in seconds, and the file."""

    pixels: np.ndarray
    seconds: float
    path: Path


class Frames(Protocol):
    """What `fuse_video` reads: the times in seconds, and the frames themselves."""

    path: Path
    times: list[Fraction]
    rate: Fraction
    tick: Fraction
    size: tuple[int, int]
    aspect: Fraction
    has_sound: bool

    def __iter__(self) -> Iterator[Frame]: ...


class ImageFrames:
    """Image files, or pages of one, as frames at given times."""

    has_sound, aspect = False, Fraction(1)

    def __init__(
        self,
        path: Path,
        images: Sequence[tuple[Path, int | None]],
        times: list[Fraction],
        rate: Fraction,
        tick: Fraction | None = None,
    ):
        self.path, self.images, self.times, self.rate = path, images, times, rate
        self.tick = tick or 1 / rate
        self.size = read_size(*images[0])

    def __iter__(self) -> Iterator[Frame]:
        for number, (time, image) in enumerate(zip(self.times, self.images, strict=True)):
            photo = read_photo(*image)
            for note in photo.notes if not number else ():
                report(f"note: {image[0]}: {note}")
            yield Frame(photo.pixels, float(time), image[0])


def numbered(names: list[str]) -> list[int]:
    """Return which frame, from 0, each of some sorted names is: numbers in them may leave gaps.

    Where the names are of something else than numbered frames, they follow each other.
    """
    found = [re.findall(r"\d+", name)[-1:] for name in names]
    numbers = [int(digits[0]) for digits in found if digits]
    steps = [b - a for a, b in itertools.pairwise(numbers)]
    if len(numbers) == len(names) and steps and min(steps) > 0:
        frames = [(number - numbers[0]) // min(steps) for number in numbers]
        if not any(step % min(steps) for step in steps) and frames[-1] < 2 * len(names):
            return frames
    return list(range(len(names)))


def is_animated(path: str | os.PathLike) -> bool:
    """Return whether a PNG or WebP has several frames, which PyAV may read as a video."""
    with contextlib.suppress(Exception), Image.open(path, formats=("PNG", "WEBP")) as image:
        return getattr(image, "n_frames", 1) > 1
    return False
