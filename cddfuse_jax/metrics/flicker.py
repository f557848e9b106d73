"""Flicker of a fused video, without optical flow: changes between frames that no source has."""

import itertools
from collections.abc import Iterable
from typing import NamedTuple, Optional

import numpy as np
from numpy.typing import ArrayLike

from cddfuse_jax.errors import InputError
from cddfuse_jax.metrics.arrays import grey, scaled


class Flicker(NamedTuple):
    """Means over pixels and pairs of successive frames, in grey levels of 255.

    Attributes:
        excess: of max(|f' - f| - max(|v' - v|, |i' - i|), 0): the change of the fused frame beyond
            the larger change of both sources. 0 where it changes only as they do.
        fused: of |f' - f|, motion included.
        visible: of |v' - v|.
        infrared: of |i' - i|.
    """

    excess: float
    fused: float
    visible: float
    infrared: float


def flicker(
    fused: Iterable[ArrayLike],
    visible: Iterable[ArrayLike],
    infrared: Iterable[ArrayLike],
    data_range: Optional[float] = None,
) -> Flicker:
    """Measure how much a fused video flickers, next to its sources.

    A stretch of each frame by itself brightens and darkens what does not move, which is excess.
    Noise that fusion amplifies is excess too. Two frames are held at a time.

    Args:
        fused: frames, of one size with the sources'; of types and ranges as `compute` takes them.
        visible: as many frames.
        infrared: as many frames.
        data_range: see `compute`.

    Raises:
        InputError: fewer than two frames, or not as many of each; sizes that differ.
    """
    names: tuple[str, ...] = ("fused", "visible", "infrared")
    before: list[np.ndarray] = []
    sums, count = np.zeros(4), 0
    for frames in itertools.zip_longest(fused, visible, infrared):
        if any(frame is None for frame in frames):
            raise InputError("a fused video and its sources have as many frames; one ends early")
        planes = [
            grey(scaled(frame, name, data_range)).astype(np.float64)
            for frame, name in zip(frames, names)
        ]
        shapes = {plane.shape for plane in [*planes, *before]}
        if len(shapes) > 1:
            raise InputError(f"frames have one size (H, W), got {sorted(shapes)}")
        if before:
            f, v, i = (np.abs(now - then) for now, then in zip(planes, before))
            excess = np.maximum(f - np.maximum(v, i), 0)
            sums += [excess.mean(), f.mean(), v.mean(), i.mean()]
            count += 1
        before = planes
    if not count:
        raise InputError("flicker is of two frames and more")
    return Flicker(*(float(total) for total in sums / count))
