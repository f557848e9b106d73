"""EI: mean strength of the fused image's edges."""

import functools

import numpy as np

from cddfuse_jax.metrics.record import Plane, metric
from cddfuse_jax.metrics.windows import sobel

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
