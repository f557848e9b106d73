"""The two images of one scene as read: of one size, and with notes on what was changed."""

import contextlib
import re
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from cddfuse_jax.errors import InputError
from cddfuse_jax.images import levels
from cddfuse_jax.images.colour import is_coloured
from cddfuse_jax.images.image_files import naming, read_photo, read_size
from cddfuse_jax.images.photo import Photo
from cddfuse_jax.images.ranges import AUTO, NARROW, Percentiles, Range, Values
from cddfuse_jax.pairs.find import Pair
from cddfuse_jax.rigs.rig import Rig
from cddfuse_jax.rigs.shift import Shift

Resize = Literal["visible", "infrared"]
RESIZES: tuple[Resize, ...] = ("visible", "infrared")
Fit = Resize | Rig | None  # how the images of a pair are brought to one size
FALSE_COLOUR = (
    "infrared in false colour (ironbow, rainbow) is fused by its luma, in which hot need not be "
    "bright; export it as grey, white hot"
)
LEAST_MEASURED = 64  # pixels of a side: smaller images do not tell their field of view
ASPECT_TOLERANCE = 0.02  # sides may be rounded to pixels without distorting the image


class PairOfPhotos(NamedTuple):
    """A pair as read, of one size unless it was read without a check."""

    visible: Photo
    infrared: Photo


def read_pair(
    pair: Pair,
    fit: Fit = None,
    ranges: tuple[Range, Range] = (AUTO, AUTO),
    index: int | None = None,
) -> PairOfPhotos:
    """Read both files of a pair as pictures and bring them to one size, if asked.

    A picture is uint8 or float32 in [0, 1]: ranges are measured before anything is resampled.
    ``fit`` names the image that is resampled to the size of the other, or is the rig's
    registration. ``index`` is the page or slice, see `read_photo`.

    Raises:
        InputError: a file cannot be read, or the sizes differ and ``fit`` is None, or are not the
            rig's.
    """
    photos = {
        "visible": as_picture(pair.visible, ranges[0], index),
        "infrared": as_picture(pair.infrared, ranges[1], index),
    }
    if isinstance(fit, Rig):
        return _placed(pair, PairOfPhotos(**photos), fit)
    sizes = {name: photo.pixels.shape[:2] for name, photo in photos.items()}
    if fit is None:
        _check_same_size(pair, *sizes.values())
    elif sizes["visible"] != sizes["infrared"]:
        photos[fit] = _resized(photos[fit], *sizes[_other(fit)])
    return PairOfPhotos(**photos)


def _placed(pair: Pair, photos: PairOfPhotos, rig: Rig) -> PairOfPhotos:
    with naming(pair.name):
        visible, infrared = rig.place(photos.visible.pixels, photos.infrared.pixels)
    notes = (*photos.infrared.notes, rig.note)
    return PairOfPhotos(
        photos.visible._replace(pixels=visible),
        photos.infrared._replace(pixels=infrared, notes=notes),
    )


def as_picture(path: Path, given: Range = AUTO, index: int | None = None) -> Photo:
    """Read a file as a picture, see `read_pair`, with notes on what that took."""
    photo = read_photo(path, index)
    pixels, notes = photo.pixels, list(photo.notes)
    with naming(path):
        limits = levels.limits_for(pixels, given, photo.limits)
        picture = levels.picture(pixels, limits)
        bits = None if limits else {255: 8, 1023: 10, 4095: 12}.get(int(levels.white(pixels) or 0))
    floats, depth = pixels.dtype.kind == "f", 8 * pixels.dtype.itemsize
    warnings = []
    if limits and isinstance(given, Percentiles) and limits != photo.limits:
        low, high = given[:2]
        deeper = "deeper than 8 bits, " * (pixels.dtype != np.uint8)
        notes.append(f"{deeper}percentiles {low:g} and {high:g} become 0 and 1")
        inside = picture[(picture > 0) & (picture < 1)]
        share = np.ptp(np.percentile(inside, (5, 95))) if inside.size else 1
        if share < NARROW:
            warnings.append(
                f"the middle 90 % of its pixels fill {100 * share:.0f} % of {limits[0]:.6g} to "
                f"{limits[1]:.6g}; --range-vi or --range-ir LOW:HIGH gives other values"
            )
    elif limits:
        notes.append("of its values those of the window become 0 and 1")
    elif floats and (np.nanmin(pixels) < 0 or np.nanmax(pixels) > 1):
        notes.append("a little beyond [0, 1], which is clipped")
    elif bits and pixels.dtype != np.uint8:
        notes.append(f"all values are of {bits} bits and taken so")
    elif depth == 16 and not floats and picture.max() <= NARROW:
        warnings.append(
            f"its colours end at {picture.max():.4f} of 1; if that is white (14 bits of 16), give "
            "--range-vi or --range-ir 0:16383"
        )
    elif isinstance(given, Values):
        notes.append("a picture that needs no range, taken as it is")
    if floats and not np.isfinite(pixels).all():
        notes.append("pixels without a value are filled from those beside them")
    kind = "float" if floats else f"{depth}-bit"
    return Photo(picture, tuple(notes), limits, kind, tuple(warnings))


def aligned(photos: PairOfPhotos, shift: Shift) -> PairOfPhotos:
    """Undo a shift of the infrared image: crop both to the pixels shared, without resampling."""
    height, width = photos.visible.pixels.shape[:2]
    rows: list[slice] = []
    columns: list[slice] = []
    for moved, length, spans in ((shift.down, height, rows), (shift.right, width, columns)):
        shared = length - abs(moved)
        spans += [slice(max(0, start), max(0, start) + shared) for start in (-moved, moved)]
    cropped = zip(photos, rows, columns, strict=True)
    return PairOfPhotos(*(photo._replace(pixels=photo.pixels[r, c]) for photo, r, c in cropped))


def warning_of_view(
    pairs: list[Pair], fit: Fit = None, ranges: tuple[Range, Range] = (AUTO, AUTO), index=None
) -> str | None:
    """Return a warning if the first of some pairs certainly show no common field of view."""
    from cddfuse_jax.rigs.search import SAMPLE, other_view

    if isinstance(fit, Rig) or any(map(looks_medical, pairs[:SAMPLE])):
        return None
    grey: list[tuple[np.ndarray, np.ndarray]] = []
    for pair in pairs[:SAMPLE]:
        with contextlib.suppress(InputError):
            photos = read_pair(pair, fit, ranges, index)
            images = levels.network_input(photos[0].pixels), levels.network_input(photos[1].pixels)
            if (
                min(images[0].shape) >= LEAST_MEASURED
                and images[0].shape == (grey or [images])[0][0].shape
            ):
                grey.append(images)
    return other_view(grey) if grey else None


def notes_on(pair: Pair, photos: PairOfPhotos) -> dict[str, str]:
    """Return what a user should know of how a pair was read: note -> file name, and its range."""
    found: dict[str, str] = {}
    for path, photo in ((pair.visible, photos.visible), (pair.infrared, photos.infrared)):
        notes = list(photo.notes)
        if (
            photo is photos.infrared
            and is_coloured(photo.pixels)
            and not {"pet", "spect"} & _words(path)
        ):
            notes.append(FALSE_COLOUR)
        name = f"{path.parent.name}/{path.name}"
        if photo.limits:
            name += " {:.6g} to {:.6g}".format(*photo.limits)
        for note in notes:
            found[note] = f"{found[note]}, {name}" if note in found else name
    return found


def warnings_on(pair: Pair, photos: PairOfPhotos) -> list[str]:
    """Return what is probably wrong with the images of a pair: a line for each, with the file."""
    found = []
    for path, photo in zip(pair[1:], photos, strict=True):
        flat = ("every pixel is the same",) if levels.is_flat(photo.pixels) else photo.warnings
        found += [f"{path}: {warning}" for warning in flat]
    return found


def looks_medical(pair: Pair) -> bool:
    """Return, by the names of files and folders, whether a pair is MRI with CT, PET or SPECT."""
    scanned = {"ct", "pet", "spect"} & _words(pair.infrared)
    return bool({"mri", "mr"} & _words(pair.visible) and scanned)


def _words(path: Path) -> set[str]:
    return set(re.split(r"[^a-z]+", f"{path.parent.name} {path.stem}".lower()))


def _other(modality: Resize) -> Resize:
    return RESIZES[1 - RESIZES.index(modality)]


def _resized(photo: Photo, height: int, width: int) -> Photo:
    before = photo.pixels.shape[:2]
    note = f"resized from {before[1]}x{before[0]} to {width}x{height}, as of one field of view"
    distortion = (width / height) / (before[1] / before[0])
    if abs(distortion - 1) > ASPECT_TOLERANCE:
        note += f", which stretches its width by {distortion:.2f} against its height"
    return photo._replace(
        pixels=levels.resized(photo.pixels, height, width), notes=(*photo.notes, note)
    )


def check_same_size(pair: Pair, visible: np.ndarray, infrared: np.ndarray) -> None:
    """Refuse a pair whose images differ in height or width."""
    _check_same_size(pair, visible.shape[:2], infrared.shape[:2])


def read_pair_size(pair: Pair, index: int | None = None, fit: Fit = None) -> tuple[int, int]:
    """Read the (height, width) that `read_pair` will give a pair, from the headers of its files."""
    if isinstance(fit, str):
        return read_size(getattr(pair, _other(fit)), index)
    sizes = read_size(pair.visible, index), read_size(pair.infrared, index)
    if fit is None:
        _check_same_size(pair, *sizes)
        return sizes[0]
    with naming(pair.name):
        fit.check_sizes(*sizes)
    return fit.size


def sizes_of(pairs: list[Pair], fit: Fit = None, index: int | None = None) -> list[tuple[int, int]]:
    """Return `read_pair_size` of each pair that has one."""
    sizes = []
    for pair in pairs:
        with contextlib.suppress(InputError):
            sizes.append(read_pair_size(pair, index, fit))
    return sizes


def _check_same_size(pair: Pair, visible: tuple[int, int], infrared: tuple[int, int]) -> None:
    if visible != infrared:
        (vi_height, vi_width), (ir_height, ir_width) = visible, infrared
        raise InputError(
            f"{pair.name}: both images must have one size, {pair.visible} is "
            f"{vi_width}x{vi_height} and {pair.infrared} is {ir_width}x{ir_height}; measure the "
            "rig by cddfuse register and give --registration RIG.json, or, only if both show one "
            "field of view, --resize infrared (or visible)"
        )
