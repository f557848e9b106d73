"""A registration by matching points: a few that somebody clicked, or many that a matcher found."""

import os
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cddfuse_jax.errors import InputError, one_line
from cddfuse_jax.rigs import Model
from cddfuse_jax.rigs.rig import Rig, Size

_KINDS = {"similarity": "similarity", "affine": "affine", "homography": "projective"}
LEAST_POINTS = {"similarity": 3, "affine": 3, "homography": 4}
LEAST_BREADTH = 0.05  # of their length: points nearer to a line than that do not fix an angle
# Of matches: how far those that agree are off, of the infrared width; how many agree; on how much
# of either side of the infrared image they lie.
NEAR, LEAST_MATCHES, LEAST_SPREAD = 0.01, 12, 0.25
MORE = 1.2  # times as many must agree with a homography for it to be taken instead of affine
TRIALS = 2000
MOST_OUTSIDE = 0.2  # of points that may lie outside of their images; of others' more do


def read_points(path: Path, model: Model = "similarity") -> Float[np.ndarray, "n 4"]:
    """Read lines of x and y in the visible image, x and y in the infrared one; or .npy, .npz."""
    try:
        if path.suffix in (".npy", ".npz"):
            found = np.load(path, allow_pickle=False)
            points = found[found.files[0]] if path.suffix == ".npz" else found
            points = np.atleast_2d(np.asarray(points, np.float64))
        else:
            text = path.read_text().replace(",", " ").replace(";", " ")
            with warnings.catch_warnings(action="ignore"):  # of a file without lines
                points = np.loadtxt(text.splitlines(), ndmin=2)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or one_line(error)}") from None
    except (ValueError, EOFError, IndexError) as error:
        raise InputError(f"{path}: four numbers a line, {one_line(error)}") from None
    least = LEAST_POINTS[model]
    if points.shape[1:] != (4,) or len(points) < least or not np.isfinite(points).all():
        raise InputError(
            f"{path}: at least {least} lines of four finite numbers (x y of visible, x y of "
            f"infrared), got {points.shape[0]} of {points.shape[-1]}"
        )
    for side, columns in (("visible", points[:, :2]), ("infrared", points[:, 2:])):
        length, breadth = np.linalg.svd(columns - columns.mean(0), compute_uv=False)[:2]
        if breadth <= LEAST_BREADTH * length:
            raise InputError(f"{path}: the {side} points lie on a line; take others away from it")
    return points


def check_within(
    path: Path, points: Float[np.ndarray, "n 4"], visible: Size, infrared: Size
) -> None:
    """Refuse points of which many lie outside of their images: of other sizes, or exchanged."""
    ends = np.array([*visible[::-1], *infrared[::-1]])
    outside = ((points < -1) | (points > ends)).any(1)
    if outside.mean() > MOST_OUTSIDE:
        number = int(outside.argmax())
        x, y, other_x, other_y = points[number]
        raise InputError(
            f"{path}: {outside.sum()} of {len(points)} points lie outside of their images, first "
            f"point {number + 1}, {x:.6g} {y:.6g} of {ends[0]}x{ends[1]} with {other_x:.6g} "
            f"{other_y:.6g} of {ends[2]}x{ends[3]}; columns are x y of the visible image, x y of "
            "the infrared one, in pixels of the files"
        )


def fit(
    points: Float[np.ndarray, "n 4"], model: Model
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " n"]]:
    """Fit the map from visible to infrared points, and how far each is off; NaN for none."""
    from skimage.transform import estimate_transform

    found = estimate_transform(_KINDS[model], points[:, :2], points[:, 2:])
    if not found or not np.isfinite(found.params).all():
        return np.full((3, 3), np.nan), np.full(len(points), np.nan)
    off = found(points[:, :2]) - points[:, 2:]
    return np.asarray(found.params) / found.params[2, 2], np.hypot(*off.T)


def mended(points: Float[np.ndarray, "n 4"], model: Model, most: float) -> str:
    """Return what would make points fit, with a residual below ``most`` pixels."""

    def fits(changed: np.ndarray) -> bool:
        return bool(np.sqrt((fit(changed, model)[1] ** 2).mean()) < most)

    for number in range(len(points) if len(points) > LEAST_POINTS[model] + 1 else 0):
        if fits(np.delete(points, number, axis=0)):
            return f"without point {number + 1} they fit"
    if fits(points * [1, 1, -1, 1]):  # exchanged is mirrored and turned
        return (
            "with the infrared images mirrored (--model affine), or x and y of their points "
            "exchanged, they fit"
        )
    return "click them again"


def matched_rig(
    path: Path, visible: Size, infrared: Size, model: Model | None = None, fill: bool = False
) -> Rig:
    """Return the registration of one pair by matches of which many may be wrong, by RANSAC.

    Without a ``model`` it is affine, or a homography where clearly more matches agree with that:
    of matches in a part of the image, it says less of the rest.

    Raises:
        InputError: too few matches agree, or on too small a part of the infrared image.
    """
    found = read_points(path, model or "homography")
    height, width = infrared
    points = np.unique(found, axis=0)  # what is there twice agrees with itself
    chosen, kept = model or "affine", _agreeing(points, model or "affine", NEAR * width)
    if model is None:
        more = _agreeing(points, "homography", NEAR * width)
        if len(more) > MORE * len(kept):
            chosen, kept = "homography", more
    if len(kept) < LEAST_MATCHES:
        raise InputError(
            f"{path}: {len(kept)} of {len(points)} matches agree within {NEAR:.0%} of the infrared "
            f"width, at least {LEAST_MATCHES} must; give more, or one rig's --registration"
        )
    spread = np.ptp(kept[:, 2:], axis=0) / (width, height)
    if spread.min() < LEAST_SPREAD:
        raise InputError(
            f"{path}: the {len(kept)} matches that agree lie on {spread.min():.0%} of a side of "
            f"the infrared image, which says nothing of the rest; {LEAST_SPREAD:.0%} are needed"
        )
    matrix = fit(kept, chosen)[0]
    rig = Rig(matrix, visible, infrared, name=os.fspath(path), fill=fill, of_pair="its matches")
    if rig.fault or rig.mirrored:
        what = rig.fault or (
            "the matches that agree are mirrored: exchange x and y of one side, or mirror the "
            "infrared images first (magick mogrify -flop)"
        )
        raise InputError(f"{path}: {what}")
    check_within(path, found, visible, infrared)
    return rig


def _agreeing(
    points: Float[np.ndarray, "n 4"], model: Model, near: float
) -> Float[np.ndarray, "m 4"]:
    """Return the points that a map fits within ``near`` pixels, the most that are found."""
    from skimage import measure, transform

    kind = getattr(transform, f"{_KINDS[model].capitalize()}Transform")
    sides, least = (points[:, :2], points[:, 2:]), LEAST_POINTS[model]
    if len(points) < least:
        return points[:0]
    with warnings.catch_warnings(action="ignore"):  # of samples without a map
        agree = measure.ransac(sides, kind, least, near, max_trials=TRIALS, rng=0)[1]
    return points[[] if agree is None else agree]
