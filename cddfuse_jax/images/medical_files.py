"""A slice of DICOM or NIfTI, in the units that its header gives (of CT, Hounsfield units)."""

import os
from typing import Any, BinaryIO

import numpy as np

from cddfuse_jax.errors import InputError, install
from cddfuse_jax.images.photo import Photo

SUFFIXES = (".dcm", ".nii", ".nii.gz")


def is_dicom(start: bytes) -> bool:
    """Return, by a file's first 132 bytes, whether it is DICOM."""
    return start[128:132] == b"DICM"


def is_nifti(path: str | os.PathLike) -> bool:
    """Return, by its ending, whether a file is NIfTI, which may be compressed."""
    return os.fspath(path).lower().endswith((".nii", ".nii.gz"))


def read_medical(path: str | os.PathLike, opened: BinaryIO, index: int | None = None) -> Photo:
    """Read a slice, counted from 0, which a file of one slice need not be asked for.

    DICOM: window, slope, intercept and MONOCHROME1 (inverted here) are the header's. NIfTI: the
    slice across the third axis of the volume turned to RAS+, front (A) above, left (L) at the left.

    Raises:
        InputError: an extra is missing, or there is no such slice, or not one of grey or RGB.
        Exception: of any kind, if it is broken.
    """
    try:
        return _nifti(path, index) if is_nifti(path) else _dicom(path, opened, index)
    except ImportError as error:
        raise InputError(f"{path}: its kind needs {error.name}: {install('medical')}") from None


def _chosen(path, index: int | None, count: int) -> int:
    if count == 1:
        return 0  # of a pair one file may have slices, and the other be one
    if index is None or not 0 <= index < count:
        got = "" if index is None else f", got {index}"
        raise InputError(f"{path}: has {count} slices; choose one: --slice 0 to {count - 1}{got}")
    return index


def _nifti(path, index: int | None) -> Photo:
    import nibabel

    image: Any = nibabel.as_closest_canonical(nibabel.load(path))
    shape = (*image.shape, 1, 1)
    if len(image.shape) < 2 or np.prod(image.shape[3:]) > 1:
        raise InputError(
            f"{path}: a volume has 2 or 3 axes, this one {image.shape}; save one volume of it"
        )
    chosen = _chosen(path, index, shape[2])
    data = image.dataobj[:, :, chosen] if len(image.shape) > 2 else np.asarray(image.dataobj)
    if data.dtype.kind not in "biuf":
        raise InputError(f"{path}: a NIfTI of {data.dtype} is not read; save it as float32")
    low, high = float(image.header["cal_min"]), float(image.header["cal_max"])
    pixels = np.ascontiguousarray(np.rot90(data.reshape(data.shape[:2])))
    return Photo(pixels, limits=(low, high) if high > low else None)


def _dicom(path, opened: BinaryIO, index: int | None) -> Photo:
    import pydicom

    header = pydicom.dcmread(opened)
    what = header.get("PhotometricInterpretation", "")
    if not header.dir("PixelData") or what.startswith("PALETTE"):
        raise InputError(f"{path}: DICOM of grey or RGB pixels is read, this is {what or 'none'}")
    if "ModalityLUTSequence" in header:
        raise InputError(f"{path}: its table of values (modality LUT) is not read; save it as TIFF")
    count = int(header.get("NumberOfFrames", None) or 1)
    chosen = _chosen(path, index, count)
    # Enhanced files have these in groups, of all frames or of each; others at the top.
    for level, frame in (("Shared", 0), ("PerFrame", chosen)):
        groups = header.get(f"{level}FunctionalGroupsSequence") or [{}]
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in groups[min(frame, len(groups) - 1)].get(name) or ():
                header.update(item)
    try:
        pixels = pydicom.pixels.pixel_array(header, index=chosen)
    except (RuntimeError, NotImplementedError) as error:  # a codec that is not installed
        raise InputError(
            f"{path}: its compression is not read ({str(error).splitlines()[0]}); "
            "dcmdjpeg or gdcmconv --raw decompress it"
        ) from None
    if pixels.ndim == 3:
        return Photo(pixels)
    values = pixels.astype(np.float32)
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")  # may be empty
    values = values * np.float32(1 if slope is None else slope) + np.float32(intercept or 0)
    if (missing := header.get("PixelPaddingValue")) is not None:
        other = header.get("PixelPaddingRangeLimit", missing)
        values[(pixels >= min(missing, other)) & (pixels <= max(missing, other))] = np.nan
    limits, notes = _window(header), []
    if limits:
        notes.append("window of its header")
    if what == "MONOCHROME1":
        low, high = limits or (np.nanmin(values), np.nanmax(values))
        values, notes = np.float32(low + high) - values, [*notes, "MONOCHROME1: inverted"]
    return Photo(values, tuple(notes), limits)


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
