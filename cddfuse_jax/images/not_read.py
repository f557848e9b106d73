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
_ARRAYS = "; arrays: read it by h5py or scipy.io.loadmat, and numpy.save('out.npy', ...)"
_VIDEO = "; a video: give it that ending, as .mp4, and fuse two of them to --out fused.mp4"
_STARTS = {  # of files that are named as what they are not
    b"\x89PNG": "; a damaged PNG: copy or download it again",
    b"\xff\xd8\xff": "; a damaged JPEG: copy or download it again",
    b"PK\3\4": "; a ZIP archive: unzip it",
    b"\x1f\x8b": "; compressed by gzip: gunzip it",
    b"%PDF": "; a PDF: pdfimages -png takes out its images",
    b"\x1aE\xdf\xa3": _VIDEO,  # Matroska
    b"\x89HDF": _ARRAYS,
    b"MATLAB": _ARRAYS,
}
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
        return _APPLE if is_heif(start) else _VIDEO
    if re.fullmatch(rb"\W*-?\d[\d.,;\s eE+-]*", start):
        return (
            "; a table of numbers: read it by numpy.genfromtxt (delimiter=';', decimal commas made "
            "points) and numpy.save('out.npy', ...)"
        )
    for known, what in _STARTS.items():
        if start.startswith(known):
            return what
    if not start:
        return "; it is empty"
    if start.isascii() and "".join(start.decode("ascii").split()).isprintable():
        return f"; a text that begins {start[:40].decode('ascii')!r}: was its download refused?"
    return _ELSE
