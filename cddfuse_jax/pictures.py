"""A picture of what the network does to a pair: images, base maps and detail maps in a grid."""

import jax
import jax.numpy as jnp
import numpy as np

from cddfuse_jax.models.cddfuse import CDDFuse, Residual, select_residual

GAP = 4  # pixels between the panels


def decomposition_picture(
    model: CDDFuse, params, visible: np.ndarray, infrared: np.ndarray, residual: Residual
) -> np.ndarray:
    """Draw rows visible, infrared, fused and columns image, base features, detail features.

    Images are (h, w, 1) in [0, 1]; a feature map is drawn as its mean over channels, stretched
    between its 1st and 99th percentile. Returns uint8 (height, width).
    """
    maps = _maps(model, residual)(params, visible[None], infrared[None])
    images, base, detail = (np.asarray(part)[..., 0] for part in maps)
    features = [np.stack([stretch(panel) for panel in part]) for part in (base, detail)]
    rows = [
        np.concatenate([_framed(column[i]) for column in (images, *features)], axis=1)
        for i in range(3)
    ]
    grid = np.concatenate(rows)[: -GAP or None, : -GAP or None]
    return np.rint(255 * np.clip(grid, 0, 1)).astype(np.uint8)


def stretch(panel: np.ndarray) -> np.ndarray:
    """Map the 1st percentile to 0 and the 99th to 1; a flat panel becomes 0.5."""
    low, high = np.percentile(panel, [1, 99])
    return np.full_like(panel, 0.5) if high <= low else np.clip((panel - low) / (high - low), 0, 1)


def _framed(panel: np.ndarray) -> np.ndarray:
    return np.pad(panel, ((0, GAP), (0, GAP)), constant_values=1)


def _maps(model: CDDFuse, residual: Residual):
    @jax.jit
    def maps(params, visible, infrared):
        apply = lambda *inputs, method: model.apply({"params": params}, *inputs, method=method)  # noqa: E731
        base, detail, _ = apply(jnp.concatenate([visible, infrared]), method="encode")
        fused_base, fused_detail = apply(
            base[:1] + base[1:], detail[:1] + detail[1:], method="fuse_features"
        )
        added = select_residual(residual, visible, infrared)
        fused = apply(fused_base, fused_detail, added, method="decode")
        mean = lambda *parts: jnp.concatenate(parts).mean(-1, keepdims=True)  # noqa: E731
        images = jnp.concatenate([visible, infrared, fused])
        return images, mean(base, fused_base), mean(detail, fused_detail)

    return maps
