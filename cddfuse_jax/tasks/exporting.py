"""Fused folders with their boxes as detectors' trainers take them: a YOLO tree, COCO beside it."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from cddfuse_jax.console import progress
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import replacing
from cddfuse_jax.images.image_files import read_size
from cddfuse_jax.images.pairs import images_by_stem
from cddfuse_jax.tasks.boxes import Boxed, BoxSet, write_coco


def export(folder: Path, boxes: BoxSet, parts: Mapping[str, Sequence[str]], out: Path) -> int:
    """Write images and boxes of one input; return how many images.

    OUT/images/PART/NAME.EXT as they are, OUT/labels/PART/NAME.txt (shares of the image, so that
    any size of it serves; an empty file for an image without objects), OUT/PART.json (COCO, scaled
    to the image's size), OUT/data.yaml.

    Args:
        folder: the images.
        boxes: of at least the images of ``parts``.
        parts: names of the images by part, "train" and "val".
        out: the folder to write.

    Raises:
        InputError: an image has no boxes' entry or no file, a file cannot be read, or ``out`` has
            images of another export, which a trainer would take too.
    """
    files = images_by_stem(folder)
    entries = {image.name: image for image in boxes.images}
    for names in parts.values():
        for known, what in ((files, folder), (entries, "the boxes")):
            absent = [name for name in names if name not in known]
            if absent:
                raise InputError(
                    f"{what}: lacks {len(absent)} of {len(names)} images, the first is {absent[0]}"
                )
    for part, names in parts.items():
        place = out / "images" / part
        others = sorted(set(images_by_stem(place)) - set(names)) if place.is_dir() else []
        if others:
            raise InputError(f"{place}: has images of another export, as {others[0]}; remove it")
    for part, names in parts.items():
        scaled = []
        for name in progress(names, f"{out.name}, {part}", unit="image"):
            file, entry = files[name], entries[name]
            with replacing(out / "images" / part / file.name) as temporary:
                shutil.copyfile(file, temporary)
            with replacing(out / "labels" / part / f"{name}.txt") as temporary:
                temporary.write_text(yolo_lines(entry, boxes.names), encoding="utf-8")
            scaled.append(_scaled(entry, *read_size(file)))
        suffix = files[names[0]].suffix if names else ".png"
        write_coco(out / f"{part}.json", BoxSet(boxes.names, scaled), suffix)
    with replacing(out / "data.yaml") as temporary:
        temporary.write_text(_yaml(out, boxes.names, list(parts)), encoding="utf-8")
    return sum(map(len, parts.values()))


def yolo_lines(image: Boxed, names: Sequence[str]) -> str:
    """Write a line per box: class from 0, centre and sides as shares of the image."""
    lines = []
    for box in image.boxes:
        x = (box.left + box.width / 2) / image.width
        y = (box.top + box.height / 2) / image.height
        sides = box.width / image.width, box.height / image.height
        numbers = " ".join(f"{value:.6f}" for value in (x, y, *sides))
        lines.append(f"{names.index(box.name)} {numbers}\n")
    return "".join(lines)


def _scaled(image: Boxed, height: int, width: int) -> Boxed:
    down, across = height / image.height, width / image.width
    boxes = [
        box._replace(
            left=box.left * across, top=box.top * down, width=box.width * across,
            height=box.height * down, area=box.area * down * across,
        )
        for box in image.boxes
    ]  # fmt: skip
    return Boxed(image.name, height, width, boxes)


def _yaml(out: Path, names: Sequence[str], parts: Sequence[str]) -> str:
    # JSON's strings are YAML's.
    lines = [f"path: {json.dumps(str(out.resolve()))}"]
    lines += [f"{part}: images/{part}" for part in parts]
    lines += ["names:", *(f"  {number}: {json.dumps(name)}" for number, name in enumerate(names))]
    return "\n".join(lines) + "\n"
