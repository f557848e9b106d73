"""A slice of DICOM or NIfTI, in the units that its header gives (of CT, Hounsfield units)."""

import contextlib
import gzip
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt8

from cddfuse_jax.errors import InputError, install
from cddfuse_jax.files import replacing
from cddfuse_jax.images.photo import PATIENT, Photo, place_of

ALIGNED = 2  # code of NIfTI: places up to it are in the scanner, above it in a standard brain
ALL = -1  # as an index: every slice of a NIfTI, one below the other
SUFFIXES = (".dcm", ".ima", ".nii", ".nii.gz")

_OF_FRAMES = (  # what enhanced files say of each frame
    *("PixelValueTransformationSequence", "FrameVOILUTSequence", "PixelMeasuresSequence"),
    *("PlanePositionSequence", "PlaneOrientationSequence"),
)


def is_dicom(start: bytes) -> bool:
    """Return, by a file's first 132 bytes, whether it is DICOM."""
    return start[128:132] == b"DICM"


def is_nifti(path: str | os.PathLike) -> bool:
    """Return, by its ending, whether a file is NIfTI, which may be compressed."""
    return os.fspath(path).lower().endswith((".nii", ".nii.gz"))


def is_nameless_dicom(path: str | os.PathLike) -> bool:
    """Return, by its content, whether a file of no ending, or one of digits, is DICOM."""
    ending = os.path.splitext(path)[1][1:]
    if ending and not ending.isdecimal():
        return False
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return is_dicom(file.read(132))
    return False


def read_medical(
    path: str | os.PathLike,
    opened: BinaryIO,
    index: int | None = None,
    onto: str | os.PathLike | None = None,
) -> Photo:
    """Read a slice, counted from 0, which a file of one slice need not be asked for.

    DICOM: window, slope, intercept and MONOCHROME1 (inverted here) are the header's; tables and
    palettes are applied as pydicom does. NIfTI: the slice across the third axis of the volume
    turned to RAS+, front (A) above, left (L) at the left; with ``onto``, a slice of that volume,
    onto whose grid this one is resampled. `ALL` gives all of its slices, one below the other.

    Raises:
        InputError: an extra is missing, or there is no such slice, or not one of grey or RGB.
        Exception: of any kind, if it is broken.
    """
    if os.fspath(path).lower().endswith(".nii") and opened.read(2) == b"\x1f\x8b":
        raise InputError(f"{path}: is compressed by gzip: rename it to .nii.gz")
    opened.seek(0)
    try:
        return _nifti(path, index, onto) if is_nifti(path) else _dicom(path, opened, index)
    except ImportError as error:
        raise InputError(f"{path}: its kind needs {error.name}: {install('medical')}") from None


def _chosen(path, index: int | None, count: int) -> int:
    if count == 1:
        return 0  # of a pair one file may have slices, and the other be one
    if index is None or not 0 <= index < count:
        got = "" if index is None else f", got {index}"
        raise InputError(f"{path}: has {count} slices; choose one: --slice 0 to {count - 1}{got}")
    return index


def _slices(path, index: int | None, count: int) -> tuple[int, int]:
    """Return the first slice that is read, and how many."""
    return (0, count) if index == ALL else (_chosen(path, index, count), 1)


def write_volume(
    path: Path, pixels: UInt8[np.ndarray, "rows w"], like: Path, description: str
) -> None:
    """Write all slices, as `ALL` reads those of ``like``, as a NIfTI on the grid of that file."""
    import nibabel

    stored: Any = nibabel.load(like)
    turned = nibabel.io_orientation(stored.affine)
    grid: Any = nibabel.as_closest_canonical(stored)
    width, height, count = (*grid.shape, 1)[:3]
    slices = np.rot90(pixels.reshape(count, height, width), -1, axes=(1, 2))
    canonical = nibabel.Nifti1Image(np.moveaxis(slices, 0, 2), grid.affine)
    back = nibabel.orientations.ornt_transform(nibabel.io_orientation(grid.affine), turned)
    voxels = np.asarray(canonical.as_reoriented(back).dataobj).reshape(stored.shape)
    image = nibabel.Nifti1Image(np.ascontiguousarray(voxels), stored.affine)
    header = stored.header
    image.set_sform(stored.affine, int(max(header["sform_code"], header["qform_code"])))
    image.header.set_xyzt_units(*header.get_xyzt_units())
    image.header["descrip"] = description.encode()[:79]
    content = image.to_bytes()
    with replacing(path) as temporary:
        zipped = path.suffix.lower() == ".gz"
        temporary.write_bytes(gzip.compress(content, mtime=0) if zipped else content)


def _nifti(path, index: int | None, onto) -> Photo:
    import nibabel
    from nibabel.processing import resample_from_to

    def loaded(file) -> tuple[Any, int]:
        stored: Any = nibabel.load(file)
        placed = int(stored.header["sform_code"] or stored.header["qform_code"])
        return nibabel.as_closest_canonical(nibabel.squeeze_image(stored)), placed

    (image, placed), notes = loaded(path), []
    low, high = float(image.header["cal_min"]), float(image.header["cal_max"])
    grid, onto_placed = loaded(onto) if onto is not None else (image, placed)
    if onto is not None and len(image.shape) == 3 == len(grid.shape):
        chosen, count = _slices(onto, index, grid.shape[2])
        plane = grid.affine @ nibabel.affines.from_matvec(np.eye(3), [0, 0, chosen])
        if grid.shape != image.shape or not np.allclose(grid.affine, image.affine, atol=1e-3):
            if not (placed and onto_placed):
                raise InputError(
                    f"{onto if placed else path}: its header does not say where it lies (sform and "
                    "qform code 0), and the grids differ; make it of DICOM by dcm2niix"
                )
            if (placed > ALIGNED) != (onto_placed > ALIGNED):
                raise InputError(
                    f"{path}: one of it and {onto} lies in a standard brain, by the codes "
                    f"{placed} and {onto_placed} of their headers; register one to the other first"
                )
            floats = nibabel.Nifti1Image(image.get_fdata(dtype=np.float32), image.affine)
            image = resample_from_to(
                floats, ((*grid.shape[:2], count), plane), order=1, cval=np.nan
            )
            notes.append(f"resampled onto the grid of {os.path.basename(onto)}, by their headers")
            if np.isnan(image.dataobj).all():
                shown = f"slice {chosen} of {onto}" if count == 1 else onto
                raise InputError(f"{path}: shows no place that {shown} shows")
    shape = (*image.shape, 1, 1)
    if len(image.shape) < 2 or np.prod(image.shape[3:]) > 1:
        raise InputError(
            f"{path}: a volume has 2 or 3 axes, this one {image.shape}; save one volume of it"
        )
    chosen, count = _slices(path, index, shape[2])
    data = image.dataobj if len(image.shape) > 2 else np.asarray(image.dataobj)[..., None]
    data = np.asarray(data[:, :, chosen : chosen + count])
    if data.dtype.kind not in "biuf":
        raise InputError(f"{path}: a NIfTI of {data.dtype} is not read; save it as float32")
    if index == ALL and data.dtype.kind == "f" and (missing := np.isnan(data)).any():
        data = np.where(missing, np.nanmin(data), data)  # the nearest would be of another slice
        notes.append("what it does not show has its lowest value")
    upright = np.rot90(np.moveaxis(data.reshape(data.shape[:3]), 2, 0), axes=(1, 2))
    pixels = np.ascontiguousarray(upright).reshape(-1, len(data))
    place = None
    if placed:
        patient = np.diag([-1, -1, 1, 1]) @ image.affine  # as DICOM counts: to the left, to behind
        start = patient @ [0, image.shape[1] - 1, chosen, 1]
        place = place_of(PATIENT, start[:3], patient[:3, 0], -patient[:3, 1], pixels.shape)
    return Photo(pixels, tuple(notes), (low, high) if high > low else None, place=place)


def _dicom(path, opened: BinaryIO, index: int | None) -> Photo:
    import pydicom

    header = pydicom.dcmread(opened)
    what = header.get("PhotometricInterpretation", "")
    if not header.dir("PixelData"):
        raise InputError(f"{path}: DICOM of grey or RGB pixels is read, this has none")
    if (last := header.get("HighBit")) not in (None, header.get("BitsStored", 0) - 1):
        raise InputError(
            f"{path}: values in the lowest bits are read, these end at bit {last}; export it anew"
        )
    count = int(header.get("NumberOfFrames", None) or 1)
    chosen = _chosen(path, index, count)
    # Enhanced files have these in groups, of all frames or of each; others at the top.
    for level, frame in (("Shared", 0), ("PerFrame", chosen)):
        groups = header.get(f"{level}FunctionalGroupsSequence") or [{}]
        for name in _OF_FRAMES:
            for item in groups[min(frame, len(groups) - 1)].get(name) or ():
                header.update(item)
    try:
        pixels = pydicom.pixels.pixel_array(header, index=chosen)
    except (RuntimeError, NotImplementedError) as error:  # a codec that is not installed
        raise InputError(
            f"{path}: its compression is not read ({str(error).splitlines()[0]}); "
            "dcmdjpeg or gdcmconv --raw decompress it"
        ) from None
    place = None
    start, turned, spacing = (
        header.get(name) for name in ("ImagePositionPatient", "ImageOrientationPatient",
                                      "PixelSpacing")
    )  # fmt: skip
    if start and turned and spacing:
        row, column = np.reshape(turned, (2, 3)).astype(float)
        down, across = map(float, spacing)
        origin = str(header.get("FrameOfReferenceUID", ""))
        place = place_of(PATIENT, start, across * row, down * column, pixels.shape[:2], origin)
    if what.startswith("PALETTE"):
        pixels = pydicom.pixels.apply_color_lut(pixels, header)
        pixels = (pixels >> 8 if pixels.dtype == np.uint16 else pixels).astype(np.uint8)
    if pixels.ndim == 3:
        return Photo(pixels, place=place)
    values, notes = pixels.astype(np.float32), []
    if "ModalityLUTSequence" in header:
        values = pydicom.pixels.apply_modality_lut(pixels, header).astype(np.float32)
        notes.append("table of values of its header")
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")  # may be empty
    values = values * np.float32(1 if slope is None else slope) + np.float32(intercept or 0)
    limits = _window(header)
    if limits:
        notes.append("window of its header")
    elif tables := header.get("VOILUTSequence"):
        values = pydicom.pixels.apply_voi_lut(values.astype(np.int64), header).astype(np.float32)
        limits = 0.0, float(2 ** int(tables[0].LUTDescriptor[2]) - 1)
        notes.append("its values are those of the table of its header (VOI LUT)")
    if (missing := header.get("PixelPaddingValue")) is not None:
        other = header.get("PixelPaddingRangeLimit", missing)
        values[(pixels >= min(missing, other)) & (pixels <= max(missing, other))] = np.nan
    if what == "MONOCHROME1":
        low, high = limits or (np.nanmin(values), np.nanmax(values))
        values, notes = np.float32(low + high) - values, [*notes, "MONOCHROME1: inverted"]
    return Photo(values, tuple(notes), limits, place=place)


def _window(header: Any) -> tuple[float, float] | None:
    """Return the values that the first window of a header makes black and white."""
    centre, width = (
        np.ravel(header.get(name) or []).astype(float)[:1]
        for name in ("WindowCenter", "WindowWidth")
    )
    off = 1 if header.get("VOILUTFunction", "LINEAR") == "LINEAR" else 0  # see DICOM, C.11.2.1.2
    if not centre.size or not width.size or width[0] <= off:
        return None
    middle, half = centre[0] - off / 2, (width[0] - off) / 2
    return float(middle - half), float(middle + half)
