"""Qabf: how well the edges of both sources are preserved (Xydeas and Petrovic, 2000)."""

import numpy as np

from cddfuse_jax.metrics.signature import of_three_images, refuse_smaller_than

# Logistic curves through which strength and orientation pass: ceiling, slope, midpoint.
STRENGTH = (0.9994, 15.0, 0.5)
ORIENTATION = (0.9879, 22.0, 0.8)


@of_three_images
def edge_preservation(fused, infrared, visible):
    """Qabf, 0 to 0.975, as in the release: edge preservation, weighted by the source's edges.

    With Sobel strength g and angle arctan(sy/sx), G = smaller/larger strength and
    a = 1 - |difference of angles|/(pi/2), a source's Q is
    0.9994/(1 + exp(-15(G - 0.5))) times 0.9879/(1 + exp(-22(a - 0.8))), and the score is
    sum(QA gA + QB gB)/sum(gA + gB). Where both strengths are equal, G is that strength itself,
    and the image is padded with zeros, which puts an edge around it.

    0 where neither source has an edge, which with that padding means that both are black.
    """
    edges = [_edges(image, "constant") for image in (fused, infrared, visible)]
    return _weighted(edges, _preserved_as_release)


@of_three_images
def edge_preservation_corrected(fused, infrared, visible):
    """Qabf of the protocol `corrected`: three of the release's slips put right.

    G is 1 where both strengths are equal; orientations that differ by pi are the same edge; the
    border is repeated outwards, so that the frame is no edge. 0 where both sources are flat.
    """
    edges = [_edges(image, "edge") for image in (fused, infrared, visible)]
    return _weighted(edges, _preserved_corrected)


def _weighted(edges, preserved) -> float:
    fused, *sources = edges
    kept = sum((preserved(*source, *fused) * source[0]).sum(dtype=np.float64) for source in sources)
    present = sum(strength.sum(dtype=np.float64) for strength, _ in sources)
    return kept / present if present > 0 else 0.0


def _edges(image: np.ndarray, padding: str) -> tuple[np.ndarray, np.ndarray]:
    """Sobel strength and angle in (-pi/2, pi/2] of an HxW image, float32.

    float32 is exact for the integer sums of an 8-bit image, and faster.
    """
    refuse_smaller_than(2, image, "Qabf")
    padded = np.pad(image, 1, mode=padding)
    # Each Sobel filter is a difference in one direction after (1, 2, 1) in the other.
    smooth = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    across = smooth[:, :-2] - smooth[:, 2:]
    smooth = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    down = smooth[2:] - smooth[:-2]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = down / across
    slope[across == 0] = np.inf
    return np.sqrt(across * across + down * down), np.arctan(slope)


def _preserved_as_release(g_source, angle_source, g_fused, angle_fused) -> np.ndarray:
    ratio = np.where(g_source == g_fused, g_fused, _ratio(g_source, g_fused))
    return _quality(ratio, np.abs(angle_source - angle_fused))


def _preserved_corrected(g_source, angle_source, g_fused, angle_fused) -> np.ndarray:
    ratio = np.where(g_source == g_fused, 1, _ratio(g_source, g_fused))
    difference = np.abs(angle_source - angle_fused)
    return _quality(ratio, np.minimum(difference, np.float32(np.pi) - difference))


def _ratio(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # 0/0 is an equal strength, which the caller fills in
        return np.minimum(first, second) / np.maximum(first, second)


def _quality(ratio: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """Preservation per pixel from the strengths' ratio and the angles' difference (radians)."""
    (top_g, slope_g, middle_g), (top_a, slope_a, middle_a) = STRENGTH, ORIENTATION
    alignment = 1 - difference * np.float32(2 / np.pi)
    denominator = 1 + np.exp(slope_g * (middle_g - ratio))
    denominator *= 1 + np.exp(slope_a * (middle_a - alignment))
    return top_g * top_a / denominator
