"""Scores of the fused image alone, from its grey values and their differences: SD, SF, AG, EI."""

import functools

import numpy as np

from cddfuse_jax.metrics.record import Plane, metric, refuse_smaller_than
from cddfuse_jax.metrics.shapes import Float
from cddfuse_jax.metrics.windows import sobel


@metric(
    "SD",
    unit="grey levels",
    measures="contrast of the fused image; a stretch alone raises it",
    source="population standard deviation, as in the CDDFuse release and in VIFB",
    protocols=("release", "corrected", "vifb", "tang", "ivif_zoo"),
    needs_sources=False,
)
def standard_deviation(fused: Plane) -> float:
    """SD, grey levels: population standard deviation of the fused image; flat: 0."""
    return fused.std()


SF = functools.partial(
    metric,
    "SF",
    unit="grey levels",
    measures="differences between neighbouring pixels",
    needs_sources=False,
)


@SF(
    source="Eskicioglu and Fisher 1995, as in the CDDFuse release",
    protocols=("release", "corrected", "tang", "ivif_zoo"),
)
def spatial_frequency(fused: Plane) -> float:
    """SF, grey levels: sqrt(mean dx² + mean dy²) over neighbouring pixels; flat: 0.

    Each mean is over its own differences: H(W-1) of them across, (H-1)W down. An image one pixel
    wide or high has none in that direction, and they count as 0.
    """
    return np.sqrt(sum(np.mean(d * d) if d.size else 0.0 for d in _differences(fused)))


@SF(source="Eskicioglu and Fisher 1995, as in VIFB", protocols=("vifb",), channels="adjacent")
def spatial_frequency_per_pixel(fused: Plane) -> float:
    """SF, grey levels, of the protocol `vifb`: sqrt((sum dx² + sum dy²)/HW); flat: 0.

    Both sums are divided by the number of pixels. Colour is scored with the three planes side by
    side, so that the two seams between them count as differences too.
    """
    return np.sqrt(sum(np.sum(d * d) for d in _differences(fused)) / fused.size)


AG = functools.partial(
    metric,
    "AG",
    unit="grey levels",
    measures="mean gradient of the fused image; noise raises it too",
    needs_sources=False,
)


@AG(
    source="Cui et al. 2015, as in the CDDFuse release",
    protocols=("release", "corrected", "ivif_zoo"),
)
def average_gradient(fused: Plane) -> float:
    """AG, grey levels per pixel: mean of sqrt((gx² + gy²)/2); flat: 0.

    Differences are central inside and one-sided at the border.
    """
    return _gradient_sum(fused) / fused.size


@AG(source="Cui et al. 2015, as in VIFB", protocols=("vifb", "tang"))
def average_gradient_inner(fused: Plane) -> float:
    """AG of the protocols `vifb` and `tang`: the sum over all HW pixels, divided by (H-1)(W-1)."""
    height, width = fused.shape
    return _gradient_sum(fused) / max((height - 1) * (width - 1), 1)


EI = functools.partial(
    metric,
    "EI",
    unit="grey levels",
    measures="mean edge strength of the fused image; noise raises it too",
    needs_sources=False,
)


@EI(source="Rajalingam and Priya 2018, as in VIFB", protocols=("vifb", "papers"))
def edge_intensity(fused: Plane) -> float:
    """EI, grey levels: mean of hypot(sx, sy), Sobel with the border repeated; flat: 0."""
    return np.hypot(*sobel(fused, "nearest")).mean()


@EI(source="Rajalingam and Priya 2018, as in IVIF_ZOO", protocols=("ivif_zoo",))
def edge_intensity_zeros(fused: Plane) -> float:
    """EI of the protocol `ivif_zoo`: zeros around the image, whose frame counts as an edge."""
    return np.hypot(*sobel(fused, "constant")).mean()


def _differences(
    image: Plane,
) -> tuple[Float[np.ndarray, "h w-1"], Float[np.ndarray, "h-1 w"]]:
    return np.diff(image, axis=1), np.diff(image, axis=0)


def _gradient_sum(image: Plane) -> float:
    refuse_smaller_than(2, image, "AG")
    down, across = np.gradient(image)
    return np.sqrt((across * across + down * down) / 2).sum()
