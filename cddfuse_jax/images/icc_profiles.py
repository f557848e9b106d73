"""ICC profiles and gamma: colours that are not sRGB are converted to it, or a note says so."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from cddfuse_jax.errors import one_line

_STEPS = np.linspace(0, 255, 9).round().astype(np.uint8)
_COLOURS = np.stack(np.meshgrid(_STEPS, _STEPS, _STEPS), -1).reshape(1, -1, 3)
NEAR = 2  # levels by which what is called sRGB differs from it
_GAMMA = 0.45455  # of sRGB, as PNG gives it
_ADOBE = b"R03\0"  # EXIF's index of interoperability, as cameras write it for Adobe RGB


def in_srgb(pixels: np.ndarray, info: Mapping[Any, Any], notes: list[str]) -> np.ndarray:
    """Return an image HxW or HxWx3 with its colours in sRGB; grey counts stay what they are.

    ``info`` is what Pillow says of the file: "icc_profile", "gamma", "exif". Colours of 8 bits are
    converted from the profile's. For others, and for a profile of another kind, a note names it.
    """
    if pixels.ndim == 2 and pixels.dtype != np.uint8:
        return pixels
    stored, gamma = info.get("icc_profile"), info.get("gamma")
    if not (stored and isinstance(stored, bytes)):  # texts of a PNG may have these names
        if isinstance(gamma, float) and "srgb" not in info and abs(gamma - _GAMMA) > 0.02:
            notes.append(f"its gamma ({gamma:g}) is not used: it is taken as sRGB")
        if _ADOBE in info.get("exif", b""):
            notes.append("Adobe RGB by its EXIF data, without a profile: it is taken as sRGB")
        return pixels
    name, mode = "damaged", "RGB"

    def converted(values: np.ndarray) -> np.ndarray:
        image = Image.fromarray(values).convert(mode)
        return np.asarray(ImageCms.applyTransform(image, transform))

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(stored))
        name = one_line(ImageCms.getProfileDescription(profile)) or "unnamed"
        if pixels.ndim == 2 and profile.profile.xcolor_space == "GRAY":
            mode = "L"
        transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
        sample = _COLOURS if mode == "RGB" else _COLOURS[:, ::91]  # the greys among them
        if np.abs(converted(sample).astype(int) - sample).max() <= NEAR:
            return pixels
        if pixels.dtype == np.uint8:
            notes.append(f"converted to sRGB from {name}")
            return converted(pixels)[..., 0] if pixels.ndim == 2 else converted(pixels)
    except (OSError, ValueError, ImageCms.PyCMSError):
        pass
    notes.append(f"its ICC profile ({name}) is not used: it is taken as sRGB")
    return pixels
