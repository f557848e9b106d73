"""Writing a fused image: PNG, JPEG or TIFF, 8 or 16 bits, with what made it in its metadata."""

import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin

from cddfuse_jax.errors import InputError
from cddfuse_jax.files import replacing
from cddfuse_jax.images import levels
from cddfuse_jax.images.metadata import NO_METADATA, Metadata

_SOFTWARE, _DESCRIPTION = 0x0131, 0x010E  # tags of EXIF and TIFF


class Format(NamedTuple):
    """How fused images are stored: the ending of their names, what Pillow calls it, 16 bits."""

    suffix: str
    kind: str
    deep: bool = False


FORMATS = {
    "png": Format(".png", "PNG"),
    "jpg": Format(".jpg", "JPEG"),
    "tif": Format(".tif", "TIFF"),
    "png16": Format(".png", "PNG", deep=True),
    "tif16": Format(".tif", "TIFF", deep=True),
}
VOLUME = Format(".nii.gz", "NIfTI")
_OF_SUFFIX = {".png": "png", ".jpg": "jpg", ".jpeg": "jpg", ".tif": "tif", ".tiff": "tif"}
_OTHERS = (".bmp", ".webp", ".npy", ".gif", ".avif", ".heic", ".jp2", ".exr", ".ppm", ".pgm")
_VIDEOS = (
    *(".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".3gp"),
    *(".mts", ".m2ts", ".flv", ".asf", ".ogv", ".vob", ".mxf", ".h264", ".264", ".hevc", ".265"),
)
QUALITY = 95  # of JPEG, 1 to 100


def is_image_name(out: Path) -> bool:
    """Return whether ``out`` names one image that can be written, rather than a folder."""
    known = out.suffix.lower() in _OF_SUFFIX or _names_volume(out)
    return known and not out.is_dir()


def _names_volume(out: Path) -> bool:
    return out.name.lower().endswith((".nii", ".nii.gz"))


def is_video(path: Path) -> bool:
    """Return, by the ending, whether a path names a video file."""
    return path.suffix.lower() in _VIDEOS and not path.is_dir()


def format_for(out: Path, name: str | None = None, volume: bool = False) -> Format:
    """Return the format called ``name``, or that of the ending of ``out``; PNG for a folder.

    A ``volume`` is stored as NIfTI.
    """
    if volume:
        if name or (is_image_name(out) and not _names_volume(out)):
            raise InputError(
                "--slice all writes volumes: leave out --format, name --out x.nii.gz or a folder"
            )
        return VOLUME
    if _names_volume(out):
        raise InputError(f"--out {out} is a volume: give --slice all, or name an image")
    if out.suffix.lower() in _OTHERS and not out.is_dir():
        raise InputError(
            f"fused images are stored as PNG, JPEG or TIFF, got --out {out}; end it in .png, .jpg "
            "or .tif"
        )
    ending = _OF_SUFFIX.get(out.suffix.lower()) if is_image_name(out) else None
    if name is None:
        return FORMATS[ending or "png"]
    if name not in FORMATS:
        raise InputError(f"a format is one of {', '.join(FORMATS)}, got {name!r}")
    if ending and FORMATS[ending].kind != FORMATS[name].kind:
        raise InputError(
            f"--format {name} is stored as {FORMATS[name].suffix}, got --out {out}; "
            "change one of them"
        )
    return FORMATS[name]


def write_image(
    path: str | os.PathLike,
    values: np.ndarray,
    as_format: Format = FORMATS["png"],
    quality: int = QUALITY,
    software: str = "",
    description: str = "",
    metadata: Metadata = NO_METADATA,
) -> None:
    """Write intensities as an image file, which appears whole or not at all.

    Args:
        path: the file.
        values: HxW or HxWx3, float in [0, 1].
        as_format: one of `FORMATS`.
        quality: of a JPEG, 1 to 100.
        software: what made it; PNG text "Software", or that tag of EXIF and TIFF.
        description: how; PNG text "Description", or the tag ImageDescription.
        metadata: what is kept of the visible file, where the format has room for it.
    """
    texts = {"Software": software, "Description": description}
    if as_format.deep:
        pixels = np.rint(values.astype(np.float64) * 65535).astype(np.uint16)
    else:
        pixels = levels.to_8_bit(values)
    with replacing(path) as temporary:
        if as_format.kind == "TIFF":
            tags = metadata.tags if metadata.size == pixels.shape[:2] else ()
            _write_tiff(temporary, pixels, software, description, tags)
        elif as_format.kind == "JPEG":
            exif = metadata.exif or Image.Exif()
            exif[_SOFTWARE], exif[_DESCRIPTION] = software, description
            Image.fromarray(pixels).save(
                temporary, format="JPEG", quality=quality, subsampling=0, exif=exif
            )
        elif as_format.deep and pixels.ndim == 3:
            temporary.write_bytes(_deep_colour_png(pixels, texts))
        else:
            text = PngImagePlugin.PngInfo()
            for key, value in texts.items():
                text.add_text(key, value)
            Image.fromarray(pixels).save(
                temporary, format="PNG", pnginfo=text, exif=metadata.exif or Image.Exif()
            )


def _write_tiff(
    path: Path, pixels: np.ndarray, software: str, description: str, tags: tuple
) -> None:
    import tifffile

    tifffile.imwrite(
        path,
        pixels,
        photometric="rgb" if pixels.ndim == 3 else "minisblack",
        compression="deflate",
        description=description,
        software=software,
        metadata=None,
        extratags=tags,
    )


def _deep_colour_png(pixels: np.ndarray, texts: dict[str, str]) -> bytes:
    """Return HxWx3 uint16 as a PNG file, which Pillow cannot make, with its texts (W3C PNG, 5)."""
    import imagecodecs

    def chunk(text: bytes) -> bytes:
        body = b"tEXt" + text
        return struct.pack(">I", len(text)) + body + struct.pack(">I", zlib.crc32(body))

    encoded = bytes(imagecodecs.png_encode(pixels))
    header = 8 + 25  # bytes of the signature and of IHDR
    added = [chunk(f"{key}\0{text}".encode("latin-1", "replace")) for key, text in texts.items()]
    return encoded[:header] + b"".join(added) + encoded[header:]
