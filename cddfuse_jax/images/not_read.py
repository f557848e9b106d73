"""Files that are no images to read: what they are, and what makes images of them."""

import re

READ = "PNG, JPEG, TIFF, BMP, WebP and .npy"
_APPLE = "; HEIC and AVIF are not read: heif-convert FILE out.png, or export it as JPEG"
_RAW = "; raw files are not read: develop it to 16-bit TIFF"
EXPORTING = dict.fromkeys((".heic", ".heif", ".hif", ".avif"), _APPLE) | dict.fromkeys(
    (".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw", ".raf", ".orf"), _RAW
)
_VOLUMES = (".nrrd", ".mha", ".mhd", ".mgz", ".mnc", ".img")
_VOLUME = "; volumes are read as NIfTI: save it as .nii.gz (3D Slicer, ITK-SNAP, nibabel)"
_BARE = "; DICOM begins with a preamble: dcmconv FILE out.dcm adds it"
_ELSE = f"; {READ} are read: magick FILE out.png converts most others"
_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1", b"avif", b"avis")  # after "ftyp"


def is_heif(start: bytes) -> bool:
    """Return, by a file's first bytes, whether it is HEIC or AVIF."""
    return start[4:8] == b"ftyp" and start[8:12] in _BRANDS


def advice(suffix: str, start: bytes) -> str:
    """Return what to do with a file that is not read, by its ending and its first bytes."""
    if suffix in _VOLUMES:
        return _VOLUME
    if suffix in EXPORTING or suffix == ".dcm":
        return EXPORTING.get(suffix, _BARE)
    if start[4:8] == b"ftyp":
        video = "; a video: fuse two of them, and name --out a video, such as fused.mp4"
        return _APPLE if is_heif(start) else video
    if re.fullmatch(rb"\W*-?\d[\d.,;\s eE+-]*", start):
        return (
            "; a table of numbers: read it by numpy.genfromtxt (delimiter=';', decimal commas made "
            "points) and numpy.save('out.npy', ...)"
        )
    return _ELSE
