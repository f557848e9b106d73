"""Images of a decomposition: sources, base maps and detail maps in a grid."""

import numpy as np
from jaxtyping import Float, UInt8

from cddfuse_jax.training.decomposing import Decomposition

GAP = 4  # pixels between the panels


def grid(parts: Decomposition) -> UInt8[np.ndarray, "height width"]:
    """Draw rows visible, infrared, fused and columns image, base features, detail features.

    Each map of features is stretched from its 1st to its 99th percentile.
    """
    features = [np.stack([stretch(panel) for panel in maps]) for maps in (parts.base, parts.detail)]
    framed = [
        np.vstack([np.pad(panel, ((0, GAP), (0, GAP)), constant_values=1) for panel in column])
        for column in (parts.images, *features)
    ]
    panels = np.hstack(framed)[:-GAP, :-GAP]
    return np.rint(255 * np.clip(panels, 0, 1)).astype(np.uint8)


def stretch(panel: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Map the 1st percentile to 0 and the 99th to 1; a flat panel becomes 0.5."""
    low, high = np.percentile(panel, [1, 99])
    return np.full_like(panel, 0.5) if high <= low else np.clip((panel - low) / (high - low), 0, 1)
