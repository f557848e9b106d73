"""A rig's registration by matching points that somebody clicked."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from cddfuse_jax.errors import InputError, one_line

LEAST_POINTS = 3
LEAST_BREADTH = 0.05  # of their length: points nearer to a line than that do not fix an angle


def read_points(path: Path) -> Float[np.ndarray, "n 4"]:
    """Read lines of x and y in the visible image, x and y in the infrared one."""
    try:
        text = path.read_text().replace(",", " ").replace(";", " ")
        points = np.loadtxt(text.splitlines(), ndmin=2)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: four numbers a line, {one_line(error)}") from None
    if points.shape[1] != 4 or len(points) < LEAST_POINTS or not np.isfinite(points).all():
        raise InputError(
            f"{path}: at least {LEAST_POINTS} lines of four finite numbers (x y of visible, x y of "
            f"infrared), got {points.shape[0]} of {points.shape[1]}"
        )
    for side, columns in (("visible", points[:, :2]), ("infrared", points[:, 2:])):
        length, breadth = np.linalg.svd(columns - columns.mean(0), compute_uv=False)[:2]
        if breadth <= LEAST_BREADTH * length:
            raise InputError(f"{path}: the {side} points lie on a line; take others away from it")
    return points


def fit(
    points: Float[np.ndarray, "n 4"], affine: bool
) -> tuple[Float[np.ndarray, "2 3"], Float[np.ndarray, " n"]]:
    """Fit the map from visible to infrared points, by least squares, and how far each is off it."""
    (x, y), target = points[:, :2].T, points[:, 2:]
    one, zero = np.ones_like(x), np.zeros_like(x)
    if affine:
        solution = np.linalg.lstsq(np.column_stack([x, y, one]), target, rcond=None)[0]
        matrix = solution.T
    else:  # (a -b; b a), which turns and scales
        rows = np.concatenate(
            [np.column_stack([x, -y, one, zero]), np.column_stack([y, x, zero, one])]
        )
        a, b, right, down = np.linalg.lstsq(rows, target.T.ravel(), rcond=None)[0]
        matrix = np.array([[a, -b, right], [b, a, down]])
    mapped = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    return matrix, np.hypot(*(mapped - target).T)


def mended(points: Float[np.ndarray, "n 4"], affine: bool, most: float) -> str:
    """Return what would make points fit, with a residual below ``most`` pixels."""

    def fits(changed: np.ndarray) -> bool:
        return bool(np.sqrt((fit(changed, affine)[1] ** 2).mean()) < most)

    for number in range(len(points) if len(points) > LEAST_POINTS + 1 else 0):
        if fits(np.delete(points, number, axis=0)):
            return f"without point {number + 1} they fit"
    if fits(points * [1, 1, -1, 1]):  # exchanged is mirrored and turned
        return (
            "with the infrared images mirrored (magick mogrify -flop), or x and y of their points "
            "exchanged, they fit"
        )
    return "click them again"
