"""What a person should know of a pair that was read: notes, and warnings of what is wrong."""

from collections.abc import Sequence
from pathlib import Path

from cddfuse_jax.images import levels
from cddfuse_jax.images.colour import is_coloured
from cddfuse_jax.pairs.find import looks_medical, words_of
from cddfuse_jax.pairs.read import ImagePair

FALSE_COLOUR = (
    "infrared in false colour (ironbow, rainbow) is fused by its luma, in which hot need not be "
    "bright; export it as grey, white hot"
)
SAMPLE = 4  # pairs whose field of view is measured
LEAST_MEASURED = 64  # pixels of a side: smaller images do not tell their field of view


def notes_on(images: ImagePair) -> dict[str, str]:
    """Return what was done in reading a pair: note -> file name, and its range."""
    found: dict[str, str] = {}
    for path, photo in zip(images.pair[1:], images, strict=True):
        notes = list(photo.notes)
        if (
            photo is images.infrared
            and is_coloured(photo.pixels)
            and not {"pet", "spect"} & words_of(path)
        ):
            notes.append(FALSE_COLOUR)
        name = str(Path(*path.parts[-2:]))
        if photo.limits:
            name += " {:.6g} to {:.6g}".format(*photo.limits)
        for note in notes:
            found[note] = f"{found[note]}, {name}" if note in found else name
    return found


def warnings_on(images: ImagePair) -> list[str]:
    """Return what is probably wrong with the images of a pair: a line for each, with the file."""
    found = []
    for path, photo in zip(images.pair[1:], images, strict=True):
        flat = ("every pixel is the same",) if levels.is_flat(photo.pixels) else photo.warnings
        found += [f"{path}: {warning}" for warning in flat]
    return found


def warning_of_view(read: Sequence[ImagePair]) -> str | None:
    """Return a warning if some pairs, each of one size, certainly show no common field of view.

    At most `SAMPLE` of them are measured.
    """
    from cddfuse_jax.rigs.search import other_view

    sample = read[:SAMPLE]
    if any(looks_medical(images.pair) for images in sample):
        return None
    large = [images.grey for images in sample if min(images.grey[0].shape) >= LEAST_MEASURED]
    alike = [grey for grey in large if grey[0].shape == large[0][0].shape]
    return other_view(alike) if alike else None
