"""The image files of a folder, by their names without ending."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from cddfuse_jax.errors import InputError
from cddfuse_jax.images.image_files import SUFFIXES
from cddfuse_jax.images.medical_files import is_nameless_dicom

THUMBNAILS = "@eaDir"  # the folder that a Synology NAS adds
_ENDING = re.compile(f"({'|'.join(map(re.escape, SUFFIXES))})$", re.IGNORECASE)


def images_by_stem(folder: str | os.PathLike) -> dict[str, Path]:
    """Image files of a folder (not of its subfolders), sorted, by the name without its ending."""
    found = candidates_by_stem(folder)
    refuse_ambiguous(folder, ([file.name for file in files] for files in found.values()))
    return {stem: files[0] for stem, files in found.items()}


def images_within(folder: str | os.PathLike, deep: bool) -> dict[str, Path]:
    """As `images_by_stem`; with ``deep``, or where there are none, those of subfolders too."""
    found = candidates_by_stem(folder, subfolders=deep)
    found = found or candidates_by_stem(folder, subfolders=True)
    refuse_ambiguous(folder, ([file.name for file in files] for files in found.values()))
    return {stem: files[0] for stem, files in found.items()}


def refuse_ambiguous(folder: str | os.PathLike, groups: Iterable[list[str]]) -> None:
    """Refuse a folder in which several files have one name but for the ending."""
    ambiguous = [", ".join(names) for names in groups if names[1:]]
    if ambiguous:
        more = f" and {len(ambiguous) - 5} more names" if len(ambiguous) > 5 else ""
        raise InputError(
            f"{folder}: one image per name, found {'; '.join(ambiguous[:5])}{more}; "
            "remove all but one"
        )


def candidates_by_stem(
    folder: str | os.PathLike, subfolders: bool = False
) -> dict[str, list[Path]]:
    """All image files of a folder by stem, sorted; a stem with several files is ambiguous.

    With ``subfolders`` those in them too; the stem is then the path within the folder, as
    ``day/a``, without the ending.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found = defaultdict(list)
    for file in sorted(folder.rglob("*") if subfolders else folder.iterdir()):
        within = file.relative_to(folder)
        hidden = any(part[0] == "." or part == THUMBNAILS for part in within.parts)
        if not hidden and is_image(file):
            # The same accents may be written in two ways.
            stem = unicodedata.normalize("NFC", without_ending(within).as_posix())
            found[stem].append(file)
    return dict(found)


def natural(name: str) -> list[str | int]:
    """Return what sorts ``img_9`` before ``img_10``, in any case."""
    parts = re.split(r"(\d+)", name.casefold())
    return [int(part) if part.isdecimal() else part for part in parts]


def is_image(file: Path) -> bool:
    """Return whether a path is an image's, by its ending, or DICOM without one.

    A broken link is, so that it is an error and not left out.
    """
    if file.name.lower().endswith(SUFFIXES):
        return not file.is_dir()
    return file.is_file() and is_nameless_dicom(file)


def unended(name: str) -> str:
    """Return a name without the ending of an image, if it has one; other dots stay."""
    return _ENDING.sub("", name)


def without_ending(file: Path) -> Path:
    """Return a path without its ending, of which .nii.gz is one."""
    if file.suffix[1:].isdecimal():  # part of a DICOM's name
        return file
    bare = file.with_suffix("")
    return bare.with_suffix("") if file.suffix.lower() == ".gz" else bare
