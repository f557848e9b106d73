"""Boxes as others keep them: COCO JSON, PASCAL VOC's XML, YOLO's text."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from cddfuse_jax.errors import InputError, one_line
from cddfuse_jax.images.image_files import read_size
from cddfuse_jax.images.pairs import images_by_stem
from cddfuse_jax.tasks.boxes import Box, Boxed, BoxSet

_MOST_BYTES = 1 << 20  # of one image's XML or text


def read_coco(path: Path) -> BoxSet:
    """Read instances in COCO's layout; crowds are left out. Images keep their order.

    Raises:
        InputError: it is no such file, or a box is of an image or category that is not in it.
    """
    content = _json(path)
    try:
        names = {each["id"]: str(each["name"]) for each in content["categories"]}
        images = {
            each["id"]: Boxed(
                Path(str(each["file_name"])).stem, int(each["height"]), int(each["width"]), []
            )
            for each in content["images"]
        }
        for each in content["annotations"]:
            if not each.get("iscrowd"):
                box = _numbers(each["bbox"], path)
                area = float(each.get("area", box[2] * box[3]))
                images[each["image_id"]].boxes.append(Box(names[each["category_id"]], *box, area))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: COCO's instances have images, annotations and categories that name each "
            f"other, this file lacks or breaks {one_line(error)}"
        ) from None
    _refuse_twice([image.name for image in images.values()], path)
    return BoxSet(tuple(names.values()), list(images.values()))


def read_coco_results(path: Path, truth: Path) -> list[Boxed]:
    """Read predictions in COCO's layout of results, whose ids are those of the file ``truth``.

    Raises:
        InputError: it is no such file, or predicts for an image or category that is not there.
    """
    content, beside = _json(path), _json(truth)
    if not isinstance(content, list):
        raise InputError(f"{path}: COCO's results are a list of boxes with a score")
    categories = {each["id"]: str(each["name"]) for each in beside["categories"]}
    images = {
        each["id"]: Boxed(Path(each["file_name"]).stem, int(each["height"]), int(each["width"]), [])
        for each in beside["images"]
    }
    for each in content:
        try:
            box, score = _numbers(each["bbox"], path), float(each["score"])
            image, category = each["image_id"], each["category_id"]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: a result has image_id, category_id, bbox and score; broken is "
                f"{one_line(error)}"
            ) from None
        if image not in images or category not in categories:
            raise InputError(
                f"{path}: predicts for image {image} and category {category}, which are not both "
                f"in {truth}"
            )
        images[image].boxes.append(Box(categories[category], *box, box[2] * box[3], score))
    return list(images.values())


def read_yolo(
    folder: Path, names: Sequence[str], sizes: dict[str, tuple[int, int]], predicted: bool = False
) -> list[Boxed]:
    """Read YOLO's text: a file per image, a line per box: class, centre, sides (shares of 1).

    Args:
        folder: the files, NAME.txt, at least one; an image without one has no box.
        names: of the classes, by their number from 0.
        sizes: height and width by image.
        predicted: whether a line ends with a score.

    Raises:
        InputError: the folder is missing or has no such file, a file is of no image, or a line is
            none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    files = {file.stem: file for file in sorted(folder.glob("*.txt"))}
    files.pop("classes", None)  # a list that some programs leave there
    if not files:
        raise InputError(f"{folder}: boxes are in files NAME.txt, there is none")
    strange = sorted(files.keys() - sizes.keys())
    if strange:
        raise InputError(
            f"{folder}: boxes for {len(strange)} images that are not there, the first is "
            f"{strange[0]}"
        )
    return [
        Boxed(
            name, *size, _yolo_lines(files[name], names, size, predicted) if name in files else []
        )
        for name, size in sizes.items()
    ]


def _yolo_lines(path: Path, names: Sequence[str], size: tuple[int, int], predicted: bool):
    boxes = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            numbers = [float(field) for field in fields]
            name = names[int(fields[0])]
        except (ValueError, IndexError):
            numbers, name = [], ""
        wanted = (6,) if predicted else (5, 6)
        if len(numbers) not in wanted or not all(map(math.isfinite, numbers)) or numbers[0] < 0:
            raise InputError(
                f"{path}, line {number}: expected a class of 0 to {len(names) - 1}, x, y, width, "
                f"height{' and a score' if predicted else ''}, got {line[:60]!r}"
            )
        height, width = size
        x, y, w, h = (v * side for v, side in zip(numbers[1:5], (width, height) * 2, strict=True))
        score = numbers[5] if predicted else 1.0
        boxes.append(Box(name, x - w / 2, y - h / 2, w, h, w * h, score))
    return boxes


def read_voc(folder: Path, names: Sequence[str] | None = None) -> BoxSet:
    """Read a folder of PASCAL VOC's XML, a file per image; VOC counts pixels from 1.

    Args:
        folder: the files, NAME.xml.
        names: classes to keep, in their order; default: all that there are, sorted.

    Raises:
        InputError: the folder is missing or empty, or a file is not of that layout. One with a
            document type or entities is refused: no such file needs them, and they can be abused.
    """
    files = sorted(folder.glob("*.xml")) if folder.is_dir() else []
    if not files:
        raise InputError(f"{folder}: no folder with .xml files")
    images = [_voc_image(file) for file in files]
    there = sorted({box.name for image in images for box in image.boxes})
    kept = tuple(names or there)
    if not set(kept) & set(there):
        raise InputError(f"{folder}: has boxes of {', '.join(there)}, none of {', '.join(kept)}")
    return BoxSet(
        kept, [i._replace(boxes=[box for box in i.boxes if box.name in kept]) for i in images]
    )


def _voc_image(path: Path) -> Boxed:
    text = _text(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError(f"{path}: a document type or entities are not read; remove them")
    try:
        # Its declaration of an encoding, if there is one, has been obeyed: the text is decoded.
        root = ElementTree.fromstring(text.encode("utf-8"), ElementTree.XMLParser(encoding="utf-8"))
        boxes = []
        for each in root.iter("object"):
            sides = {s: _number(each, f"bndbox/{s}") for s in ("xmin", "ymin", "xmax", "ymax")}
            left, top = sides["xmin"] - 1, sides["ymin"] - 1
            width, height = sides["xmax"] - left, sides["ymax"] - top
            name = (each.findtext("name") or "").strip()
            if width <= 0 or height <= 0 or not name:
                raise ValueError(f"an object {name!r} of {width:g}x{height:g} pixels")
            boxes.append(Box(name, left, top, width, height, width * height))
        size = int(_number(root, "size/height")), int(_number(root, "size/width"))
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{path}: not PASCAL VOC's XML ({one_line(error)})") from None
    return Boxed(path.stem, *size, boxes)


def _number(node: ElementTree.Element, place: str) -> float:
    value = float(node.findtext(place) or "nan")
    if not math.isfinite(value):
        raise ValueError(f"no number at {place}")
    return value


def sizes_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Return height and width of a folder's images by name, from their headers.

    Raises:
        InputError: the folder is missing or empty, or a file is no image.
    """
    sizes = {name: read_size(path) for name, path in images_by_stem(folder).items()}
    if not sizes:
        raise InputError(f"{folder}: holds no images")
    return sizes


def _numbers(values: Any, path: Path) -> tuple[float, float, float, float]:
    box = [float(value) for value in values]
    if len(box) != 4 or not all(map(math.isfinite, box)) or box[2] <= 0 or box[3] <= 0:
        raise InputError(f"{path}: a bbox is left, top, width and height above 0, got {values}")
    return box[0], box[1], box[2], box[3]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON that can be read ({one_line(error)})") from None


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path}: more than {_MOST_BYTES} bytes are not boxes of one image")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({one_line(error)})") from None


def _refuse_twice(names: Sequence[str], path: Path) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise InputError(f"{path}: has the image {twice} twice")
