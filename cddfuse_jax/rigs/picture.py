"""An image that shows whether a rig's registration is right."""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_gradient_magnitude

from cddfuse_jax.images.levels import resized, to_8_bit
from cddfuse_jax.rigs.rig import Rig

COLOUR = np.array([1.0, 0.2, 0.1])
SMOOTHING = 1.2  # sigma of the edges in infrared pixels
WEAK, STRONG = 75, 98  # percentiles of the edges between which they begin to show


def draw(rig: Rig, pairs: Sequence[tuple[np.ndarray, np.ndarray]], width: int) -> Image.Image:
    """Draw infrared edges over the visible images, a row for each pair.

    At the left the infrared image is stretched to the visible one's size, at the right registered.
    Pairs are HxW in [0, 1].
    """
    rows = []
    for visible, infrared in pairs:
        edges = gaussian_gradient_magnitude(infrared, SMOOTHING)
        low, high = np.percentile(edges, (WEAK, STRONG))
        edges = np.clip((edges - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
        registered = np.zeros(visible.shape)
        registered[rig.window] = rig.place(visible, edges)[1]
        both = resized(edges, *visible.shape), registered
        rows.append(np.hstack([_over(visible, drawn) for drawn in both]))
    drawn = Image.fromarray(to_8_bit(np.vstack(rows)))
    return drawn.resize((2 * width, round(drawn.height * 2 * width / drawn.width)))


def _over(visible: np.ndarray, edges: np.ndarray) -> np.ndarray:
    edges = edges[..., None]
    return (1 - edges) * visible[..., None] + edges * COLOUR
