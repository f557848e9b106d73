"""Scores that count grey values: EN, and MI and CE between the fused image and its sources."""

import functools

import numpy as np

from cddfuse_jax.metrics.record import Plane, metric
from cddfuse_jax.metrics.shapes import Float, Integer

LEVELS = 256


@metric(
    "EN",
    unit="bits",
    measures="entropy of the fused image's histogram; noise raises it too",
    source="Roberts et al. 2008",
    protocols=("release", "corrected", "vifb", "tang", "ivif_zoo"),
    needs_sources=False,
)
def entropy(fused: Plane) -> float:
    """EN, bits: Shannon entropy of the fused image's 256-bin histogram, 0 to 8; flat: 0."""
    return entropy_of(np.bincount(grey_levels(fused), minlength=LEVELS)) / np.log(2)


MI = functools.partial(
    metric, "MI", measures="grey values shared with the sources; copying pixels raises it"
)


@MI(
    unit="nats",
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


@MI(unit="nats", source="Qu et al. 2002, as in VIFB", protocols=("vifb",))
def mutual_information_stretched(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """MI, nats, of the protocol `vifb`: every image is first stretched to 0-255 and rounded."""
    return mutual_information(*(stretched_levels(image) for image in (fused, visible, infrared)))


@MI(unit="bits", source="Qu et al. 2002, as in IVIF_ZOO", protocols=("ivif_zoo",))
def mutual_information_bits(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """MI, bits, of the protocol `ivif_zoo`: the release's over log(2)."""
    return mutual_information(fused, visible, infrared) / np.log(2)


@MI(unit="bits", source="Qu et al. 2002, as in L. Tang's evaluation", protocols=("tang",))
def mutual_information_saturated(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """MI, bits, of the protocol `tang`: levels 254 and 255 are one in the joint counts alone.

    Its program counts at index level + 1 in uint8, which ends at 255.
    """
    fused = grey_levels(fused)
    total = 0.0
    for source in (grey_levels(visible), grey_levels(infrared)):
        joint = np.bincount(np.minimum(fused, 254) * LEVELS + np.minimum(source, 254))
        total += sum(entropy_of(np.bincount(x)) for x in (fused, source)) - entropy_of(joint)
    return total / np.log(2)


@metric(
    "NMI",
    unit="0 to 2",
    measures="grey values shared with the sources, over what the sources hold",
    source="as in IVIF_ZOO",
    protocols=("ivif_zoo",),
)
def normalized_mutual_information(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """NMI: 2 (MI(fused, visible) + MI(fused, infrared))/(H(visible) + H(infrared)).

    0 where both sources are flat.
    """
    own = sum(entropy(source) for source in (visible, infrared))
    return 2 * mutual_information_bits(fused, visible, infrared) / own if own > 0 else 0.0


@metric(
    "TE",
    unit="bits",
    better="lower",
    measures="entropy of the sources beyond the fused image's",
    source="as in IVIF_ZOO",
    protocols=("ivif_zoo",),
)
def entropy_difference(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """TE, bits: EN of visible + EN of infrared - EN of the fused image (q = 1: no Tsallis)."""
    return entropy(visible) + entropy(infrared) - entropy(fused)


@metric(
    "CE",
    unit="nats",
    better="lower",
    measures="where the fused image is black and the sources are not",
    source="binary cross entropy as in IVIF_ZOO",
    protocols=("ivif_zoo",),
)
def cross_entropy_of_sigmoids(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """CE, nats, of the protocol `ivif_zoo`: mean of -(t log f + (1 - t) log(1 - f)).

    f is the sigmoid of the fused grey value 0-255, t the mean of the sources' sigmoids, in
    float32: they are 1 from grey value 17 on, so the score is of all but black pixels only. Both
    are kept within 1e-7 and 1 - 2^-23.
    """
    with np.errstate(over="ignore"):
        f, v, i = (1 / (1 + np.exp(-x.astype(np.float32))) for x in (fused, visible, infrared))
    low, high = np.float32(1e-7), np.float32(1 - 2**-23)
    f, t = (np.clip(x, low, high).astype(np.float64) for x in (f, (v + i) / 2))
    return -(t * np.log(f) + (1 - t) * np.log(1 - f)).mean()


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
