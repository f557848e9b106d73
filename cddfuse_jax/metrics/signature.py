"""What all scores share: three images of one size in, one number out."""

import functools
from collections.abc import Callable

import numpy as np

from cddfuse_jax.errors import InputError

Score = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


def of_three_images(function: Callable[..., float]) -> Score:
    """Turn ``function`` into a score that checks its images and returns a Python float.

    The score takes ``fused``, ``infrared`` and ``visible``: HxW, one size, values 0-255, any
    number type; ``function`` gets them as float32. It works on the CPU alone, so that a score
    never depends on the device that made the image.

    Raises (the score does):
        InputError: an image is not HxW, the sizes differ, or a value is NaN or outside 0-255.
    """

    @functools.wraps(function)
    def score(fused: np.ndarray, infrared: np.ndarray, visible: np.ndarray) -> float:
        named = {"fused": fused, "infrared": infrared, "visible": visible}
        images = {name: np.asarray(image, np.float32) for name, image in named.items()}
        shapes = {image.shape for image in images.values()}
        if len(shapes) != 1 or images["fused"].ndim != 2 or images["fused"].size == 0:
            sizes = ", ".join(f"{name} {image.shape}" for name, image in images.items())
            raise InputError(f"a score takes three grey images of one size (H, W), got {sizes}")
        for name, image in images.items():
            low, high = image.min(), image.max()
            if not (low >= 0 and high <= 255):
                raise InputError(
                    f"a score takes values 0-255, {name} spans {low:g} to {high:g}; rescale it"
                )
        return float(function(*images.values()))

    return score


def refuse_smaller_than(side: int, image: np.ndarray, score: str) -> None:
    """Refuse an HxW image that a score's window does not fit.

    Raises:
        InputError: height or width is below ``side`` pixels.
    """
    if min(image.shape) < side:
        height, width = image.shape
        raise InputError(
            f"{score} needs images of at least {side}x{side}, got {width}x{height} "
            "(width x height); leave it out"
        )
