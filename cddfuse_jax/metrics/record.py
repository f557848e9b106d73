"""The record that every score has, and the list of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
from numpy.typing import ArrayLike

from cddfuse_jax.errors import InputError
from cddfuse_jax.metrics.arrays import scaled
from cddfuse_jax.metrics.shapes import Float, Num

Score = Callable[..., float]
# One number per pixel: in scores grey values, 0-255.
Plane = Float[np.ndarray, "h w"]


@dataclass(frozen=True)
class Metric:
    """One score under one definition; calling it computes it.

    ``metric(fused, visible, infrared)`` takes HxW arrays of one size, with values as `compute`
    takes them, and returns a Python float; with ``needs_sources`` false, ``metric(fused)`` is
    enough. It works on the CPU alone, so that a score never depends on the device that made the
    image.

    Attributes:
        name: as in the tables, such as "VIF".
        function: what computes it from float64 images.
        unit: of the value, or its range where it has no unit.
        measures: what it says of the fused image, in a few words.
        source: where the definition comes from.
        protocols: the protocols that compute the score in this way.
        better: "higher" or "lower".
        needs_sources: whether it compares with visible and infrared.
        channels: how a protocol that scores colour takes the three: "mean" of three scores,
            "adjacent": the planes next to each other as one wide image, or "together": as HxWx3.
        change: how this definition departs from the release's, where it corrects it.
        why: the reason for that change.
    """

    name: str
    function: Score
    unit: str
    measures: str
    source: str
    protocols: tuple[str, ...]
    better: str = "higher"
    needs_sources: bool = True
    channels: str = "mean"
    change: str = ""
    why: str = ""

    @property
    def higher_is_better(self) -> bool:
        """Whether more is better."""
        return self.better == "higher"

    @property
    def arrow(self) -> str:
        """The direction that is better, as tables show it."""
        return "↑" if self.higher_is_better else "↓"

    def __call__(
        self,
        fused: ArrayLike,
        visible: Optional[ArrayLike] = None,
        infrared: Optional[ArrayLike] = None,
        data_range: Optional[float] = None,
    ) -> float:
        """Compute the score; ``data_range`` and what is refused are as for `compute`."""
        named = {"fused": fused, "visible": visible, "infrared": infrared}
        images = {
            name: scaled(image, name, data_range)
            for name, image in named.items()
            if image is not None
        }
        if len({image.shape for image in images.values()}) > 1 or images["fused"].ndim != 2:
            sizes = ", ".join(f"{name} {image.shape}" for name, image in images.items())
            raise InputError(f"a score takes grey images of one size (H, W), got {sizes}")
        return self.of(*images.values())

    def of(self, *planes: Num[np.ndarray, "..."]) -> float:
        """Compute the score of fused, visible and infrared planes known to be 0-255, HxW.

        What is scored "together" may be HxWx3.
        """
        if self.needs_sources and len(planes) < 3:
            raise InputError(f"{self.name} compares with both sources: give visible, infrared")
        planes = planes if self.needs_sources else planes[:1]
        return float(self.function(*(plane.astype(np.float64) for plane in planes)))


def metric(name: str, **fields: Any) -> Callable[[Score], Score]:
    """Enter the decorated function as a score; ``fields`` are those of `Metric`.

    The function takes (fused, visible, infrared), or (fused) without ``needs_sources``: float64,
    HxW, 0-255, already checked.
    """

    def enter(function: Score) -> Score:
        record = Metric(name, function, **fields)
        for other in RECORDS:
            if other.name == name and set(other.protocols) & set(record.protocols):
                raise ValueError(f"{name} is defined twice for one of {record.protocols}")
        RECORDS.append(record)
        return function

    return enter


RECORDS: list[Metric] = []  # filled by importing `scores`


def refuse_smaller_than(side: int, image: Plane, score: str) -> None:
    """Refuse an image that a score's window does not fit."""
    if min(image.shape) < side:
        height, width = image.shape
        raise InputError(
            f"{score} needs images of at least {side}x{side}, got {width}x{height} "
            "(width x height); leave it out"
        )
