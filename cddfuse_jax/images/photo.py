"""An image as its file stores it, and how it is turned upright."""

import os
import shlex
from typing import NamedTuple

import numpy as np

from cddfuse_jax.errors import InputError
from cddfuse_jax.images.metadata import NO_METADATA, Metadata

TURNED = "turned upright as its EXIF data say"
TRANSPOSING = (5, 6, 7, 8)  # orientations, as EXIF numbers them, that swap the sides


PATIENT = "the patient, in mm"


class Place(NamedTuple):
    """Where an image lies by its file: three corners, 3x3 or 3x2, in a system of coordinates.

    These are its first, that at the end of the first row, and that at the end of the first column.
    ``frame`` is DICOM's frame of reference: places in two are not comparable; "" if unknown.
    """

    system: str
    corners: np.ndarray
    frame: str = ""


def place_of(system: str, start, across, down, size: tuple[int, ...], frame: str = "") -> Place:
    """Return the place of an image by the middle of its first pixel and the steps from it."""
    start, across, down = (np.asarray(vector, float) for vector in (start, across, down))
    first = start - (across + down) / 2
    corners = np.stack([first, first + size[1] * across, first + size[0] * down])
    return Place(system, corners, frame)


class Photo(NamedTuple):
    """An image as stored, upright, and what was lost or changed in reading it.

    ``pixels`` is HxW (grey) or HxWx3 (RGB) of any real type; NaN where the file says that there is
    no value. ``notes`` says, a few words each, what a user may want to know. ``limits`` are the
    values that become black and white, where the file or the reader has set them, else None.
    ``depth`` is that of the stored values, as "16-bit", where ``pixels`` are made from them, and
    ``warnings`` say what is probably wrong with these. ``place`` is where the image
    lies, ``metadata`` what a result keeps of it.
    """

    pixels: np.ndarray
    notes: tuple[str, ...] = ()
    limits: tuple[float, float] | None = None
    depth: str = ""
    warnings: tuple[str, ...] = ()
    place: Place | None = None
    metadata: Metadata = NO_METADATA


def shape_of_pixels(place: Place, size: tuple[int, ...]) -> float:
    """Return the width of a pixel over its height, by where the image lies; 1 if nearly so."""
    across, down = (np.linalg.norm(corner - place.corners[0]) for corner in place.corners[1:])
    shape = float(across / size[1] / (down / size[0]))
    return 1.0 if abs(shape - 1) < 0.02 else shape


def check_place(first: Photo, second: Photo, file: str | os.PathLike) -> None:
    """Refuse two images that lie apart by more than half of a pixel; ``file`` is the second's."""
    if first.place is None or second.place is None:
        return
    (system, corners, frame), (other, others, other_frame) = first.place, second.place
    height, width = first.pixels.shape[:2]
    apart = np.inf
    if system == other:
        apart = np.linalg.norm(corners - others, axis=1).max()
        sides = [np.linalg.norm(c[1] - c[0]) for c in (corners, others)]
        if apart <= max(sides[0] / width, sides[1] / second.pixels.shape[1]) / 2:
            return
    if PATIENT in (system, other):
        how = (
            "make NIfTI of both (dcm2niix FOLDER), of which the second is resampled onto the first"
        )
        if frame != other_frame and frame and other_frame:
            how = "they are of two frames of reference: register one scan to the other first"
        raise InputError(
            f"the slices lie up to {apart:.1f} mm apart in the patient, by their headers; {how}"
        )
    (left, bottom), (right, top) = corners.min(0), corners.max(0)
    told = f"up to {apart:.6g} apart in {system}" if system == other else f"{system} and {other}"
    coded, turned = system.startswith("EPSG:"), corners[0, 1] != corners[1, 1]
    how = f"-t_srs {system} " * coded + (
        f"-te {left:.9g} {bottom:.9g} {right:.9g} {top:.9g} -ts {width} {height} "
        f"{shlex.quote(os.fspath(file))} warped.tif"
    )
    if turned or not (coded or system == other):
        how = "both with one -t_srs EPSG:CODE, -te and -ts"
    raise InputError(f"the maps show other places, by their tags {told}; first gdalwarp {how}")


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation, 1 to 8: transpose if the sides are swapped, then mirror."""
    if orientation in TRANSPOSING:
        pixels = pixels.swapaxes(0, 1)
    return np.ascontiguousarray(pixels[:: _down(orientation), :: _across(orientation)])


def turning_back(orientation: int, height: int, width: int) -> np.ndarray:
    """Return the 3x3 matrix from a pixel (x, y, 1) of an upright image to that of the stored one.

    ``height`` and ``width`` are the upright image's.
    """
    across, down = _across(orientation), _down(orientation)
    matrix = np.diag([across, down, 1.0])
    matrix[:2, 2] = (width - 1) * (across < 0), (height - 1) * (down < 0)
    return matrix[[1, 0, 2]] if orientation in TRANSPOSING else matrix


def _down(orientation: int) -> int:
    return -1 if orientation in (3, 4, 7, 8) else 1


def _across(orientation: int) -> int:
    return -1 if orientation in (2, 3, 6, 7) else 1
