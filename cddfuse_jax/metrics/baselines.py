"""Fusion without a network: what any method should beat.

They are scored as they are. The release's fuse program ends with a min-max stretch of every image,
which lifts SD on its own; the ``-stretched`` ones get the same stretch, for a like-for-like row.
"""

from collections.abc import Callable

import numpy as np

from cddfuse_jax.errors import InputError
from cddfuse_jax.metrics.record import Plane
from cddfuse_jax.metrics.shapes import Num


def maximum(visible: Num[np.ndarray, "h w"], infrared: Num[np.ndarray, "h w"]) -> Plane:
    """Take the brighter pixel of the two; grey values 0-255 in, float32 out."""
    return np.maximum(visible, infrared).astype(np.float32)


def mean(visible: Num[np.ndarray, "h w"], infrared: Num[np.ndarray, "h w"]) -> Plane:
    """Take the mean of both, rounded to whole grey values 0-255, half to even; float32."""
    return np.rint((visible.astype(np.float32) + infrared) / 2)


def stretched(image: Plane) -> Plane:
    """Stretch an image to the whole of 0-255, rounded, as the release's fuse program does.

    A flat image stays as it is.
    """
    low, high = image.min(), image.max()
    return np.rint((image - low) / (high - low) * 255) if high > low else image


BASELINES: dict[str, Callable[..., Plane]] = {
    "max": maximum,
    "mean": mean,
    "max-stretched": lambda visible, infrared: stretched(maximum(visible, infrared)),
    "mean-stretched": lambda visible, infrared: stretched(mean(visible, infrared)),
}


def known_baselines(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names as given, without repeats."""
    for name in names:
        if name not in BASELINES:
            raise InputError(
                f"baseline {name!r} is unknown; choose from {', '.join(BASELINES)}, or none"
            )
    return tuple(dict.fromkeys(names))
