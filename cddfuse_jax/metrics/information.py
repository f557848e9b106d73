"""Scores that count grey values: EN of the fused image, MI between it and its sources."""

import numpy as np

from cddfuse_jax.metrics.signature import of_three_images

LEVELS = 256


@of_three_images
def entropy(fused, infrared, visible):
    """EN, bits: Shannon entropy of the fused image's 256-bin histogram, 0 to 8; flat: 0."""
    return _entropy(np.bincount(_levels(fused), minlength=LEVELS)) / np.log(2)


@of_three_images
def mutual_information(fused, infrared, visible):
    """MI, nats: MI(fused, infrared) + MI(fused, visible), from 256x256 joint counts.

    0 where the fused image is flat; a flat source adds 0. Beware the units: EN is in bits, and
    programs that give MI in bits print 1.443 times as much.
    """
    fused = _levels(fused)
    own = _entropy(np.bincount(fused, minlength=LEVELS))
    total = 0.0
    for source in (_levels(infrared), _levels(visible)):
        joint = _entropy(np.bincount(fused * LEVELS + source, minlength=LEVELS**2))
        # The three entropies cancel only up to rounding; information is never negative.
        total += max(own + _entropy(np.bincount(source, minlength=LEVELS)) - joint, 0.0)
    return total


def _levels(image: np.ndarray) -> np.ndarray:
    return np.rint(image).astype(np.int64).ravel()


def _entropy(counts: np.ndarray) -> float:
    """Entropy in nats of a histogram of integer counts."""
    share = counts[counts > 0] / counts.sum()
    return -(share * np.log(share)).sum() if share.size > 1 else 0.0
