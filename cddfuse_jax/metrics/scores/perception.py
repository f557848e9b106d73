"""Scores after models of human vision: Qcb (Chen and Blum) and Qcv (Chen and Varshney)."""

import functools

import numpy as np

from cddfuse_jax.metrics.record import Plane, metric
from cddfuse_jax.metrics.scores.information import stretched_levels
from cddfuse_jax.metrics.shapes import Float
from cddfuse_jax.metrics.windows import filtered, sobel

BLOCK = 16  # side of Qcv's regions
_REACH = 15  # Qcb's gaussians are cut off this far from their centre


QCB = functools.partial(
    metric,
    "Qcb",
    unit="0 to 1",
    measures="local contrast of the sources, as the eye sees it, that the fused image keeps",
)


@QCB(source="Chen and Blum 2009, as in Liu et al. 2012 and VIFB", protocols=("vifb", "papers"))
def chen_blum(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """Qcb, 0 to 1: preserved contrast after a contrast sensitivity filter.

    Each image, stretched to 0-255, is filtered in the frequency plane by a difference of
    gaussians, exp(-(r/15.387)²) - 0.7622 exp(-(r/1.3456)²), r in 1/30 of the image's cycles at
    the Nyquist frequency. Contrast is C = |G2/G4 - 1| with gaussians of sigma 2 and 4, masked to
    P = C³/(C² + 0.0001). Preservation of a source is smaller/larger of its P and the fused P,
    weighted by the shares of P² of both sources; the score is the mean. Where neither side has
    contrast it is kept (1), and where neither source has any both weigh one half.
    """
    return _kept(*(_masked_contrast(stretched_levels(x), 30) for x in (fused, visible, infrared)))


@QCB(source="Chen and Blum 2009, as in IVIF_ZOO", protocols=("ivif_zoo",))
def chen_blum_halved(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """Qcb of the protocol `ivif_zoo`: levels are not rounded, and frequencies are half as high.

    1e-10 is added to what is divided by, so that where a stretched image is black its contrast
    is 1, the strongest there is.
    """
    span = (x - x.min() for x in (fused, visible, infrared))
    steady = 1e-10
    contrasts = (_masked_contrast(x / max(x.max(), steady), 60, steady) for x in span)
    return _kept(*contrasts, steady=steady)


def _kept(contrast_fused: Plane, *contrasts: Plane, steady: float = 0.0) -> float:
    squares = [c * c for c in contrasts]
    total = squares[0] + squares[1] + steady
    shares = [np.divide(s, total, out=np.full_like(s, 0.5), where=total > 0) for s in squares]
    kept = 0.0
    for share, contrast in zip(shares, contrasts):
        larger = np.maximum(contrast, contrast_fused)
        ratio = np.minimum(contrast, contrast_fused)
        ratio = np.divide(ratio, larger, out=np.ones_like(ratio), where=larger > 0)
        kept += (share * ratio).mean()
    return kept


@metric(
    "Qcv",
    unit="grey levels²",
    better="lower",
    measures="visible difference to the sources, weighted by their edges",
    source="Chen and Varshney 2007, as in Liu et al. 2012 and VIFB",
    protocols=("vifb", "papers"),
)
def chen_varshney(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """Qcv, from 0 up, lower is better: differences as the eye sees them, region by region.

    Images are stretched to 0-255. The difference between a source and the fused image is filtered
    in the frequency plane by 2.6 (0.0192 + 0.144 r) exp(-(0.144 r)^1.1), r in 1/8 of the image's
    cycles at the Nyquist frequency; D is its mean square in 16x16 blocks (those cut off by the
    border filled up with zeros). Its weight is the block's sum of the source's Sobel strength to
    the fifth power, zeros around the image; the score is the weighted mean of D over the blocks
    of both sources. 0 where no source has an edge, which only black images can be.
    """
    fused, *sources = (stretched_levels(x) for x in (fused, visible, infrared))
    radius = _radius(fused.shape, 8)
    sensitivity = 2.6 * (0.0192 + 0.144 * radius) * np.exp(-((0.144 * radius) ** 1.1))
    weighted = weights = 0.0
    for source in sources:
        weight = _block_sums(np.hypot(*sobel(source, "constant")) ** 5)
        difference = _filtered_by_frequency(source - fused, sensitivity)
        weighted += (weight * _block_sums(difference**2)).sum() / BLOCK**2
        weights += weight.sum()
    return weighted / weights if weights > 0 else 0.0


def _masked_contrast(image: Plane, part: float, steady: float = 0.0) -> Plane:
    radius = _radius(image.shape, part)
    sensitivity = np.exp(-((radius / 15.387) ** 2)) - 0.7622 * np.exp(-((radius / 1.3456) ** 2))
    seen = _filtered_by_frequency(image, sensitivity)
    narrow, wide = (filtered(seen, _gaussian(sigma)) for sigma in (2, 4))
    with np.errstate(divide="ignore", invalid="ignore"):
        contrast = np.abs(narrow / (wide + steady) - 1)
    # Without any light around there is no contrast; a mean of exactly 0 elsewhere has its most.
    contrast[(wide + steady == 0) & (narrow == 0)] = 0
    contrast = np.minimum(contrast, 1e100)
    return contrast**3 / (contrast**2 + 1e-4)


def _gaussian(sigma: float) -> Float[np.ndarray, " taps"]:
    offsets = np.arange(-_REACH, _REACH + 1)
    return np.exp(-(offsets**2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma)


def _radius(size: tuple[int, int], part: float) -> Float[np.ndarray, "h half"]:
    """Frequency of every coefficient of an image's FFT: cycles at Nyquist are (h, w)/part."""
    height, width = size
    down = 2 * np.fft.fftfreq(height) * height / part
    across = 2 * np.fft.rfftfreq(width) * width / part
    return np.hypot(down[:, None], across)


def _filtered_by_frequency(image: Plane, gains: Float[np.ndarray, "h w//2+1"]) -> Plane:
    return np.fft.irfft2(np.fft.rfft2(image) * gains, s=image.shape)


def _block_sums(values: Plane) -> Float[np.ndarray, "rows columns"]:
    height, width = values.shape
    padded = np.pad(values, ((0, -height % BLOCK), (0, -width % BLOCK)))
    return padded.reshape(padded.shape[0] // BLOCK, BLOCK, -1, BLOCK).sum((1, 3))
