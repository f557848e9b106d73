"""Images of a decomposition: sources, base maps and detail maps in a grid."""

import numpy as np
from jaxtyping import Float, UInt8

from cddfuse_jax.models import Residual
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.training.decomposing import Decomposition, decompose

GAP = 4  # pixels between the panels


def decomposition_picture(
    model: CDDFuse,
    params,
    visible: Float[np.ndarray, "h w 1"],
    infrared: Float[np.ndarray, "h w 1"],
    residual: Residual,
) -> UInt8[np.ndarray, "height width"]:
    """Draw rows visible, infrared, fused and columns image, base features, detail features.

    Images are in [0, 1].
    """
    return grid(decompose(model, params, visible[..., 0], infrared[..., 0], residual))


def grid(parts: Decomposition) -> UInt8[np.ndarray, "height width"]:
    """Draw the nine panels: feature maps stretched from 1st to 99th percentile each."""
    features = [np.stack([stretch(panel) for panel in part]) for part in (parts.base, parts.detail)]
    rows = [
        np.concatenate([_framed(column[i]) for column in (parts.images, *features)], axis=1)
        for i in range(3)
    ]
    panels = np.concatenate(rows)[: -GAP or None, : -GAP or None]
    return np.rint(255 * np.clip(panels, 0, 1)).astype(np.uint8)


def stretch(panel: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Map the 1st percentile to 0 and the 99th to 1; a flat panel becomes 0.5."""
    low, high = np.percentile(panel, [1, 99])
    return np.full_like(panel, 0.5) if high <= low else np.clip((panel - low) / (high - low), 0, 1)


def _framed(panel: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "height width"]:
    return np.pad(panel, ((0, GAP), (0, GAP)), constant_values=1)
