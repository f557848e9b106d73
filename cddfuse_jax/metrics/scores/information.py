"""Scores that count grey values: EN, and MI and CE between the fused image and its sources."""

import numpy as np
from jaxtyping import Float, Integer

from cddfuse_jax.metrics.record import Plane, metric

LEVELS = 256


@metric(
    "EN",
    unit="bits",
    measures="entropy of the fused image's histogram; noise raises it too",
    source="Roberts et al. 2008",
    protocols=("release", "corrected", "vifb"),
    needs_sources=False,
)
def entropy(fused: Plane) -> float:
    """EN, bits: Shannon entropy of the fused image's 256-bin histogram, 0 to 8; flat: 0."""
    return entropy_of(np.bincount(grey_levels(fused), minlength=LEVELS)) / np.log(2)


@metric(
    "MI",
    unit="nats",
    measures="grey values shared with the sources; copying pixels raises it",
    source="Qu et al. 2002, as in the CDDFuse release",
    protocols=("release", "corrected"),
)
def mutual_information(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """MI, nats: MI(fused, visible) + MI(fused, infrared), from 256x256 joint counts.

    0 where the fused image is flat; a flat source adds 0. Beware the units: EN is in bits, and
    programs that give MI in bits print 1.443 times as much.
    """
    fused = grey_levels(fused)
    own = entropy_of(np.bincount(fused, minlength=LEVELS))
    total = 0.0
    for source in (grey_levels(visible), grey_levels(infrared)):
        joint = entropy_of(np.bincount(fused * LEVELS + source, minlength=LEVELS**2))
        # The three entropies cancel only up to rounding; information is never negative.
        total += max(own + entropy_of(np.bincount(source, minlength=LEVELS)) - joint, 0.0)
    return total


@metric(
    "MI",
    unit="nats",
    measures="grey values shared with the sources; copying pixels raises it",
    source="Qu et al. 2002, as in VIFB",
    protocols=("vifb",),
)
def mutual_information_stretched(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """MI, nats, of the protocol `vifb`: every image is first stretched to 0-255 and rounded."""
    return mutual_information(*(stretched_levels(image) for image in (fused, visible, infrared)))


@metric(
    "CE",
    unit="bits",
    better="lower",
    measures="how far the fused histogram is from those of the sources",
    source="Bulanon et al. 2009, as in VIFB",
    protocols=("vifb",),
)
def cross_entropy(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """CE, bits: mean over both sources of sum p log2(p/q), p the source's histogram, q the fused.

    Levels that either histogram lacks are left out, so the value can be below 0.
    """
    q = _shares(fused)
    total = 0.0
    for source in (visible, infrared):
        p = _shares(source)
        both = (p > 0) & (q > 0)
        total += (p[both] * np.log2(p[both] / q[both])).sum()
    return total / 2


def grey_levels(image: Plane) -> Integer[np.ndarray, " h*w"]:
    """Round values 0-255 to integers."""
    return np.rint(image).astype(np.int64).ravel()


def stretched_levels(image: Plane) -> Plane:
    """Stretch an image to 0-255, rounded half up; a flat one becomes 0 everywhere."""
    low, high = image.min(), image.max()
    return np.floor((image - low) / (high - low) * 255 + 0.5) if high > low else image * 0


def entropy_of(counts: Integer[np.ndarray, " levels"]) -> float:
    """Entropy in nats of a histogram."""
    share = counts[counts > 0] / counts.sum()
    return -(share * np.log(share)).sum() if share.size > 1 else 0.0


def _shares(image: Plane) -> Float[np.ndarray, " levels"]:
    return np.bincount(grey_levels(image), minlength=LEVELS) / image.size
