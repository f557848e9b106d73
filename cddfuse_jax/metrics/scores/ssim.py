"""SSIM: local likeness to each source in mean, contrast and structure (Wang et al., 2004)."""

import functools
from typing import Any

import numpy as np

from cddfuse_jax.metrics.record import Plane, metric, refuse_smaller_than

# Arguments of scikit-image's function: its default, and the paper's window.
_UNIFORM = {"win_size": 7}
_GAUSSIAN = {
    "win_size": 11, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False
}  # fmt: skip
SSIM = functools.partial(
    metric,
    "SSIM",
    unit="sum of 2",
    measures="local likeness to each source in mean, contrast, structure",
)


@SSIM(source="Wang et al. 2004, as in the CDDFuse release", protocols=("release",))
def ssim(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """SSIM(fused, visible) + SSIM(fused, infrared), at most 2, as in the release.

    scikit-image's default: 7x7 uniform window, in float32, with data range 2. For values 0-255
    that range makes the stabilising constants vanish, see the protocol `corrected`. A flat image
    has defined values: the constants are not 0.
    """
    fused, visible, infrared = (x.astype(np.float32) for x in (fused, visible, infrared))
    return _sum_of_two(fused, visible, infrared, 2, _UNIFORM)


@SSIM(
    source="Wang et al. 2004, the release's window with the right data range",
    protocols=("corrected",),
    change="data range 255 instead of 2, in float64 instead of float32",
    why="the constants that steady SSIM in flat regions scale with the data range; for values "
    "0-255 a range of 2 leaves noise of a fraction of a grey level to count as structure",
)
def ssim_255(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """SSIM of the protocol `corrected`: data range 255, float64; the sum over the two stays."""
    return _sum_of_two(fused, visible, infrared, 255, _UNIFORM)


@SSIM(source="Wang et al. 2004, as in VIFB", protocols=("vifb",))
def ssim_gaussian(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """SSIM of the protocol `vifb`, sum of two, at most 2: as the SSIM paper defines it.

    Gaussian window of 11 taps and sigma 1.5, where it fits whole; data range 255.
    """
    return _sum_of_two(fused, visible, infrared, 255, _GAUSSIAN)


@SSIM(unit="mean of 2", source="Wang et al. 2004, as in L. Tang's evaluation", protocols=("tang",))
def ssim_1_mean(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """SSIM of the protocol `tang`, mean of two, at most 1: MATLAB's ssim of doubles 0-255.

    Which takes their data range for 1. Gaussian window of 11 taps, sigma 1.5, border repeated.
    """
    fused, visible, infrared = (np.pad(x, 5, mode="edge") for x in (fused, visible, infrared))
    return ssim_1(fused, visible, infrared) / 2


@SSIM(source="Wang et al. 2004, as in IVIF_ZOO", protocols=("ivif_zoo",))
def ssim_1(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """SSIM of the protocol `ivif_zoo`: as in `vifb` with data range 1 instead of 255.

    Its program multiplies images 0-255 by 255 once more, and says that their range is 255.
    """
    return _sum_of_two(fused, visible, infrared, 1, _GAUSSIAN)


def _sum_of_two(
    fused: Plane, visible: Plane, infrared: Plane, data_range: float, window: dict[str, Any]
) -> float:
    # Imported here, so that all other scores are ready without it.
    from skimage.metrics import structural_similarity

    refuse_smaller_than(window["win_size"], fused, "SSIM")
    return sum(
        structural_similarity(fused, source, data_range=data_range, **window)
        for source in (visible, infrared)
    )
