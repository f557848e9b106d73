"""The two images of a scene, each file read once: of one size, and with notes on what was done."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped

from cddfuse_jax.errors import InputError
from cddfuse_jax.images import levels
from cddfuse_jax.images.flir_files import Radiometric, is_flir, read_flir
from cddfuse_jax.images.image_files import naming, read_photo, read_size
from cddfuse_jax.images.medical_files import is_nifti
from cddfuse_jax.images.photo import Photo, check_place, shape_of_pixels
from cddfuse_jax.images.ranges import AUTO, NARROW, Percentiles, Range, Values
from cddfuse_jax.pairs import RESIZES, Resize
from cddfuse_jax.pairs.find import Pair
from cddfuse_jax.rigs.rig import Rig, rig_of
from cddfuse_jax.rigs.shift import Shift

Size = tuple[int, int]  # height, width
Fit = Resize | Rig | None  # how the images of a pair are brought to one size
AIR = -900  # Hounsfield units, of CT
ASPECT_TOLERANCE = 0.02  # sides may be rounded to pixels without distorting the image
_NAMES = ("the visible one", "the infrared one")


@dataclasses.dataclass(frozen=True, eq=False)
class ImagePair:
    """A pair as read: uint8 or float32 in [0, 1], each HxW or HxWx3."""

    pair: Pair
    visible: Photo
    infrared: Photo

    def __iter__(self) -> Iterator[Photo]:
        return iter((self.visible, self.infrared))

    @property
    def pixels(self) -> tuple[Shaped[np.ndarray, "_h _w *_rgb"], Shaped[np.ndarray, "_a _b *_c"]]:
        """Both images' pixels."""
        return self.visible.pixels, self.infrared.pixels

    @functools.cached_property
    def grey(self) -> tuple[Float[np.ndarray, "_h _w"], Float[np.ndarray, "_a _b"]]:
        """What the network fuses of both, `levels.network_input`, made once."""
        return levels.network_input(self.visible.pixels), levels.network_input(self.infrared.pixels)


def read_pair(
    pair: Pair,
    fit: Fit = None,
    ranges: tuple[Range, Range] = (AUTO, AUTO),
    index: int | None = None,
    any_sizes: bool = False,
) -> ImagePair:
    """Read both files of a pair, once, and bring them to one size.

    Args:
        pair: the two files.
        fit: which image is resampled to the size of the other, or the rig's registration.
        ranges: what becomes black and white on each side, measured before anything is resampled.
        index: the page or slice, see `read_photo`.
        any_sizes: leave both as they are, and do not check their sizes.

    Raises:
        InputError: a file cannot be read, or the sizes differ and ``fit`` is None, or are not the
            rig's.
    """
    onto = pair.visible if all(map(is_nifti, pair[1:])) else None
    if _holds_both(pair):
        found = read_flir(pair.visible)
        photos = (
            _picture(found.visible, pair.visible, ranges[0]),
            _picture(found.thermal, pair.visible, ranges[1]),
        )
        fit = fit if isinstance(fit, Rig) else _aligned_by_camera(found)
    else:
        photos = (
            as_picture(pair.visible, ranges[0], index),
            as_picture(pair.infrared, ranges[1], index, onto),
        )
    with naming(pair.name):
        check_place(*photos, pair.infrared)
    if any_sizes:
        return ImagePair(pair, *photos)
    with naming(pair.name):
        pixels, note = fitted(photos[0].pixels, photos[1].pixels, fit, pair[1:])
    changed = RESIZES.index(fit) if isinstance(fit, str) else 1
    notes = [photo.notes + (note,) * bool(note and k == changed) for k, photo in enumerate(photos)]
    return ImagePair(
        pair,
        photos[0]._replace(pixels=pixels[0], notes=notes[0]),
        photos[1]._replace(pixels=pixels[1], notes=notes[1]),
    )


def fitted(
    visible: Shaped[np.ndarray, "_h _w *_rgb"],
    infrared: Shaped[np.ndarray, "_a _b *_c"],
    fit: Fit,
    names: tuple[str | Path, str | Path] = _NAMES,
) -> tuple[
    tuple[Shaped[np.ndarray, "h w *_rgb"], Shaped[np.ndarray, "h w *_c"]],
    str,
]:
    """Return two images brought to one size, and a note on what was done, "" for nothing.

    Raises:
        InputError: as `read_pair`; ``names`` are those of the images in it.
    """
    if isinstance(fit, Rig):
        return fit.place(visible, infrared), fit.note
    sizes = visible.shape[:2], infrared.shape[:2]
    if fit is None:
        check_same_size(*sizes, names)
    if sizes[0] == sizes[1]:
        return (visible, infrared), ""
    if fit == "infrared":
        return (visible, levels.resized(infrared, *sizes[0])), resizing(sizes[1], sizes[0])
    return (levels.resized(visible, *sizes[1]), infrared), resizing(sizes[0], sizes[1])


def check_same_size(
    visible: Size, infrared: Size, names: tuple[str | Path, str | Path] = _NAMES
) -> None:
    """Refuse a pair whose images differ in height or width."""
    if visible != infrared:
        raise InputError(
            f"both images must have one size, {names[0]} is {visible[1]}x{visible[0]} and "
            f"{names[1]} is {infrared[1]}x{infrared[0]}; measure the rig by cddfuse register and "
            "give --registration RIG.json (Fuser(registration=...)), or, only if both show one "
            "field of view, --resize infrared (or visible)"
        )


def resizing(before: Size, after: Size) -> str:
    """Return the note on an image that was resampled."""
    (old_height, old_width), (height, width) = before, after
    note = f"resized from {old_width}x{old_height} to {width}x{height}, as of one field of view"
    distortion = (width / height) / (old_width / old_height)
    if abs(distortion - 1) > ASPECT_TOLERANCE:
        note += f", which stretches its width by {distortion:.2f} against its height"
    return note


def as_picture(
    path: Path, given: Range = AUTO, index: int | None = None, onto: Path | None = None
) -> Photo:
    """Read a file as an image in [0, 1] or 8 bits, see `read_pair`, with notes on the way."""
    return _picture(read_photo(path, index, onto), path, given)


def _picture(photo: Photo, path: Path, given: Range) -> Photo:
    pixels, notes = photo.pixels, list(photo.notes)
    if photo.place and (shape := shape_of_pixels(photo.place, pixels.shape)) != 1:
        notes.append(f"its pixels are {shape:.3g} times as wide as high, and stay so")
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
        if limits[0] <= AIR:
            warnings.append(
                f"its whole range is taken, {limits[0]:.6g} to {limits[1]:.6g}; if it is CT in "
                "Hounsfield units, give its window: --range-ir 0:80 is brain"
            )
        elif share < NARROW:
            warnings.append(
                f"the middle 90 % of its pixels fill {100 * share:.0f} % of {limits[0]:.6g} to "
                f"{limits[1]:.6g}; --range-vi or --range-ir LOW:HIGH gives other values"
            )
    elif limits:
        notes.append("of its values those of the window become 0 and 1")
    elif floats and ((finite := pixels[np.isfinite(pixels)]).min() < 0 or finite.max() > 1):
        notes.append("a little beyond [0, 1], which is clipped")
    elif bits and pixels.dtype != np.uint8:
        notes.append(f"all values are of {bits} bits and taken so")
    elif depth == 16 and not floats and picture.max() <= NARROW:
        warnings.append(
            f"its colours end at {picture.max():.4f} of 1; if that is white (14 bits of 16), give "
            "--range-vi or --range-ir 0:16383"
        )
    elif isinstance(given, Values):
        notes.append("the range is not needed and not used")
    if floats and not np.isfinite(pixels).all():
        notes.append("pixels without a value are filled from the nearest")
    if not (limits or warnings or pixels.dtype in (np.uint8, np.bool_) or pixels.ndim == 3):
        low, high = np.percentile(pixels[np.isfinite(pixels)], AUTO[:2])
        if 0 < high - low < NARROW * (levels.white(pixels) or 0):
            warnings.append(
                f"its values end at {low:.4g} and {high:.4g} of 0 to {levels.white(pixels):g}; if "
                f"these are measured values, give --range-vi or --range-ir "
                f"{low:.4g}:{high:.4g}"
            )
    kind = "float" if floats else f"{depth}-bit"
    return photo._replace(
        pixels=picture, notes=tuple(notes), limits=limits, depth=kind, warnings=tuple(warnings)
    )


def _holds_both(pair: Pair) -> bool:
    return pair.visible == pair.infrared and is_flir(pair.visible)


def _aligned_by_camera(found: Radiometric) -> Rig:
    sizes = found.visible.pixels.shape[:2], found.thermal.pixels.shape[:2]
    rig = rig_of(found.scale, 0.0, found.shift, *sizes)
    return dataclasses.replace(rig, of_pair="the camera's alignment, which is for one distance")


def aligned(images: ImagePair, shift: Shift) -> ImagePair:
    """Undo a shift of the infrared image: crop both to the pixels shared, without resampling."""
    height, width = images.visible.pixels.shape[:2]
    rows: list[slice] = []
    columns: list[slice] = []
    for moved, length, spans in ((shift.down, height, rows), (shift.right, width, columns)):
        shared = length - abs(moved)
        spans += [slice(max(0, start), max(0, start) + shared) for start in (-moved, moved)]
    cropped = zip(images, rows, columns, strict=True)
    photos = (photo._replace(pixels=photo.pixels[r, c]) for photo, r, c in cropped)
    return ImagePair(images.pair, *photos)


def read_pair_size(pair: Pair, index: int | None = None, fit: Fit = None) -> Size:
    """Read the (height, width) that `read_pair` will give a pair, from the headers of its files."""
    if _holds_both(pair):
        return read_pair(pair, fit).visible.pixels.shape[:2]
    if isinstance(fit, str):
        return read_size(getattr(pair, RESIZES[1 - RESIZES.index(fit)]), index)
    sizes = read_size(pair.visible, index), read_size(pair.infrared, index)
    with naming(pair.name):
        if fit is None:
            check_same_size(*sizes, pair[1:])
            return sizes[0]
        fit.check_sizes(*sizes)
    return fit.size


def sizes_of(pairs: list[Pair], fit: Fit = None, index: int | None = None) -> list[Size]:
    """Return `read_pair_size` of each pair that has one."""
    sizes = []
    for pair in pairs:
        with contextlib.suppress(InputError):
            sizes.append(read_pair_size(pair, index, fit))
    return sizes
