"""SSIM: local likeness to each source in mean, contrast and structure (Wang et al., 2004)."""

import functools

import numpy as np

from cddfuse_jax.metrics.record import Plane, metric, refuse_smaller_than
from cddfuse_jax.metrics.windows import gaussian, moments, similarity

_UNIFORM = 7  # scikit-image's window
_GAUSSIAN = 11, 1.5  # taps and sigma of the paper's window
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
    return _uniform(fused, visible, infrared, data_range=2)


@SSIM(
    source="Wang et al. 2004, the release's window with the right data range",
    protocols=("corrected",),
    change="data range 255 instead of 2, in float64 instead of float32",
    why="the constants that steady SSIM in flat regions scale with the data range; for values "
    "0-255 a range of 2 leaves noise of a fraction of a grey level to count as structure",
)
def ssim_255(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """SSIM of the protocol `corrected`: data range 255, float64; the sum over the two stays."""
    return _uniform(fused, visible, infrared, data_range=255)


@SSIM(source="Wang et al. 2004, as in VIFB", protocols=("vifb",))
def ssim_gaussian(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """SSIM of the protocol `vifb`, sum of two, at most 2: as the SSIM paper defines it.

    Gaussian window of 11 taps and sigma 1.5, where it fits whole; data range 255.
    """
    return _gaussian(fused, visible, infrared, data_range=255)


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
    return _gaussian(fused, visible, infrared, data_range=1)


def _gaussian(fused: Plane, visible: Plane, infrared: Plane, data_range: float) -> float:
    refuse_smaller_than(_GAUSSIAN[0], fused, "SSIM")
    window, c1, c2 = gaussian(*_GAUSSIAN), (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    pairs = (moments(fused, source, window) for source in (visible, infrared))
    return sum(similarity(pair, c1, c2).mean() for pair in pairs)


def _uniform(fused: Plane, visible: Plane, infrared: Plane, data_range: float) -> float:
    # Imported here, so that all other scores are ready without it.
    from skimage.metrics import structural_similarity

    refuse_smaller_than(_UNIFORM, fused, "SSIM")
    return sum(
        structural_similarity(fused, source, win_size=_UNIFORM, data_range=data_range)
        for source in (visible, infrared)
    )
