"""Does fusion help a detector? YOLO trees of fused images to train on, and the AP of what it finds.

    python experiments/downstream/detect.py tree --images DIR --boxes BOXES --train FILE \
        --test FILE --out OUT
    python experiments/downstream/detect.py score --truth boxes.json --pred NAME=results.json ...

BOXES is COCO's JSON, or a folder of YOLO's text with --names for its classes. `tree` writes OUT
with images/, labels/, data.yaml and val.json, COCO's, to score against; a detector is trained by
`yolo train data=OUT/data.yaml`. `score` reads COCO's list of results and needs faster-coco-eval.
For other boxes (VOC, masks, ...) see the package supervision, which writes these.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from labels import read_names

from cddfuse_jax.console import ArgumentParser, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import check_outputs, replacing
from cddfuse_jax.images.image_files import read_size
from cddfuse_jax.images.listing import images_by_stem

Boxes = dict[str, list[list[float]]]  # by image: class from 0, then centre and sides, of 1


def read_coco(path: Path) -> tuple[list[str], Boxes]:
    """Read COCO's instances; crowds are left out."""
    content = _json(path)
    try:
        categories = sorted(content["categories"], key=lambda each: each["id"])
        numbers = {each["id"]: number for number, each in enumerate(categories)}
        images = {each["id"]: each for each in content["images"]}
        boxes: Boxes = {Path(each["file_name"]).stem: [] for each in images.values()}
        for each in content["annotations"]:
            if not each.get("iscrowd"):
                image, (x, y, w, h) = images[each["image_id"]], each["bbox"]
                share = np.array([x + w / 2, y + h / 2, w, h]) / (
                    [image["width"], image["height"]] * 2
                )
                boxes[Path(image["file_name"]).stem].append([numbers[each["category_id"]], *share])
        return [str(each["name"]) for each in categories], boxes
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not COCO's instances, {error!r} is missing or broken") from None


def read_yolo(folder: Path, names: list[str]) -> Boxes:
    """Read YOLO's text: a file per image, a line per box."""
    boxes: Boxes = {}
    for path in sorted(folder.glob("*.txt")):
        boxes[path.stem] = []
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            try:
                box = [float(field) for field in line.split()]
                fine = (
                    len(box) == 5
                    and box[0] in range(len(names))
                    and min(box) >= 0
                    and max(box[1:]) <= 1
                )
            except ValueError:
                fine = False
            if not fine:
                raise InputError(
                    f"{path}, line {number}: expected a class of 0 to {len(names) - 1} and x, y, "
                    f"width, height from 0 to 1, got {line[:60]!r}"
                )
            boxes[path.stem].append(box)
    if not boxes:
        raise InputError(f"{folder}: no folder with files NAME.txt")
    return boxes


def as_coco(names: list[str], boxes: Boxes, files: dict[str, Path]) -> dict[str, Any]:
    """Return COCO's instances of the images in ``files``; ids count from 1."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, file) in enumerate(files.items(), start=1):
        height, width = read_size(file)
        images.append({"id": number, "file_name": file.name, "width": width, "height": height})
        for kind, x, y, w, h in boxes[name]:
            w, h = w * width, h * height
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "category_id": int(kind) + 1,
                "bbox": [x * width - w / 2, y * height - h / 2, w, h], "area": w * h, "iscrowd": 0,
            })  # fmt: skip
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def tree(given: argparse.Namespace) -> None:
    """Write a YOLO tree of one input's images."""
    check_outputs([given.out], [given.images, given.boxes], given.overwrite)
    if given.boxes.is_dir():
        names, boxes = given.names, read_yolo(given.boxes, given.names)
    else:
        names, boxes = read_coco(given.boxes)
    files = images_by_stem(given.images)
    for part, listed in (("train", given.train), ("val", given.test)):
        wanted = read_names(listed)
        for known, what in ((files, given.images), (boxes, given.boxes)):
            if absent := [name for name in wanted if name not in known]:
                raise InputError(f"{what}: lacks {len(absent)} of {len(wanted)}, as {absent[0]}")
        for name in wanted:
            with replacing(given.out / "images" / part / files[name].name) as file:
                shutil.copyfile(files[name], file)
            lines = (
                f"{int(box[0])} " + " ".join(f"{x:.6f}" for x in box[1:]) for box in boxes[name]
            )
            with replacing(given.out / "labels" / part / f"{name}.txt") as file:
                file.write_text("".join(f"{line}\n" for line in lines))
        with replacing(given.out / f"{part}.json") as file:
            file.write_text(json.dumps(as_coco(names, boxes, {n: files[n] for n in wanted})))
    with replacing(given.out / "data.yaml") as file:  # JSON is YAML
        file.write_text(json.dumps({"path": str(given.out.resolve()), "train": "images/train",
                                    "val": "images/val", "names": names}))  # fmt: skip


def score(given: argparse.Namespace) -> None:
    """Print AP at an IoU of 0.5 by class and in the mean, and the mean over 0.50 to 0.95."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError:
        raise InputError("AP is by faster-coco-eval: pip install faster-coco-eval") from None
    truth = COCO(_json(given.truth))
    names = [each["name"] for each in truth.loadCats(truth.getCatIds())]
    print("| | " + " | ".join([*names, "AP50", "AP50:95"]) + " |")
    print("|---" * (len(names) + 3) + "|")
    for text in given.pred:
        name, _, path = text.partition("=")
        found = _json(Path(path))
        known = set(truth.getImgIds()), set(truth.getCatIds())
        if any(x["image_id"] not in known[0] or x["category_id"] not in known[1] for x in found):
            raise InputError(
                f"{path}: finds boxes in images or of classes that {given.truth} lacks"
            )
        judge = COCOeval_faster(truth, truth.loadRes(found), "bbox", print_function=lambda *_: None)
        judge.evaluate()
        judge.accumulate()
        table = judge.eval["precision"][..., 0, -1]  # IoU, recall, class; -1: nothing to find
        table = np.where(table < 0, np.nan, table)
        values = [*table[0].mean(0), np.nanmean(table[0]), np.nanmean(table)]
        print(f"| {name} | " + " | ".join(f"{100 * value:.1f}" for value in values) + " |")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not JSON that can be read ({error})") from None


def main() -> int:
    """Read the arguments; write a tree or print the scores."""
    parser = ArgumentParser(
        "detect.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("tree")
    for option in ("images", "boxes", "train", "test", "out"):
        one.add_argument(f"--{option}", type=Path, required=True)
    one.add_argument("--names", nargs="+", default=[], help="of the classes in YOLO's text")
    one.add_argument("--overwrite", action="store_true")
    two = commands.add_parser("score")
    two.add_argument("--truth", type=Path, required=True)
    two.add_argument("--pred", nargs="+", required=True, metavar="NAME=FILE")
    given = parser.parse_args()
    (tree if given.command == "tree" else score)(given)
    return 0


if __name__ == "__main__":
    run(main)
