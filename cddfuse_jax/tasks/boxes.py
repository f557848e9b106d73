"""Boxes around objects: out of label maps, and as COCO keeps them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from scipy import ndimage

from cddfuse_jax.console import progress
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import replacing
from cddfuse_jax.tasks.labels import Classes, label_files, read_labels

LEAST_PIXELS = 20  # of an object in a label map; what is smaller is dropped
_TOUCHING = np.ones((3, 3), bool)  # a pixel's eight neighbours


class Box(NamedTuple):
    """One object: its class's name, and its corner and sides in pixels.

    ``area`` is in pixels: that of the object where a mask told it, else of the box. ``score`` is
    that of a prediction, else 1.
    """

    name: str
    left: float
    top: float
    width: float
    height: float
    area: float
    score: float = 1.0


class Boxed(NamedTuple):
    """The boxes of one image, which is ``height`` x ``width`` pixels; ``name`` has no ending."""

    name: str
    height: int
    width: int
    boxes: list[Box]


class BoxSet(NamedTuple):
    """Boxes of many images, and the classes that were looked for, in the order of their numbers."""

    names: tuple[str, ...]
    images: list[Boxed]


def boxes_of(
    labels: UInt8[np.ndarray, "h w"], classes: Sequence[str], least: int = LEAST_PIXELS
) -> list[Box]:
    """Find the objects of a label map, class by class, 0 left out.

    An object is a set of pixels of one class each of which touches another by a side or a corner.
    Objects of one class that touch are one, and one that something stands before may be two.

    Args:
        labels: numbers of ``classes``.
        classes: names; the first is the background.
        least: pixels below which an object is dropped.
    """
    found = []
    for number, name in enumerate(classes[1:], start=1):
        numbered, _ = ndimage.label(labels == number, _TOUCHING)
        areas = np.bincount(numbered.ravel())
        for place, (rows, columns) in enumerate(ndimage.find_objects(numbered), start=1):
            if areas[place] >= least:
                sides = columns.stop - columns.start, rows.stop - rows.start
                found.append(Box(name, columns.start, rows.start, *sides, float(areas[place])))
    return found


def boxes_of_folder(
    folder: Path, classes: Classes, names: Sequence[str] | None, least: int
) -> BoxSet:
    """Find the objects of a folder's label maps, all or those of some names.

    Raises:
        InputError: a map is missing or cannot be read, or there is none.
    """
    images = []
    for name, path in progress(label_files(folder, names).items(), "boxes", unit="image"):
        labels = classes.of(read_labels(path, classes.stored))
        height, width = labels.shape
        images.append(Boxed(name, height, width, boxes_of(labels, classes.names, least)))
    if not images:
        raise InputError(f"{folder}: holds no label maps")
    return BoxSet(classes.names[1:], images)


def as_coco(of: BoxSet, suffix: str = ".png") -> dict[str, Any]:
    """Return what COCO calls instances; ids count from 1 in the order given."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(of.images, start=1):
        images.append(
            {"id": number, "file_name": image.name + suffix, "width": image.width,
             "height": image.height}
        )  # fmt: skip
        annotations += [
            {
                "id": len(annotations) + place,
                "image_id": number,
                "category_id": of.names.index(box.name) + 1,
                "bbox": [box.left, box.top, box.width, box.height],
                "area": box.area,
                "iscrowd": 0,
            }
            for place, box in enumerate(image.boxes, start=1)
        ]
    categories = [{"id": number, "name": name} for number, name in enumerate(of.names, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_coco(path: Path, of: BoxSet, suffix: str = ".png") -> None:
    """Write `as_coco` as JSON; the file appears whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(as_coco(of, suffix)), encoding="utf-8")
