"""Does fusion help a segmenter? The same one trained on each input, or label maps made elsewhere.

    python experiments/downstream/segment.py --vi DIR --ir DIR --labels DIR --train FILE \
        --test FILE --input visible infrared mean max NAME=DIR --out OUT
    python experiments/downstream/segment.py --labels DIR --pred NAME=DIR,DIR ... --out OUT

Inputs are visible, infrared, mean or max (of both), or NAME=DIR with a folder of fused images. Each
is given as three channels, standardised by its training images, so that all train the same network
at the same budget from the same seeds. OUT takes results.json, the predicted maps, table.md and
table.csv; the same command goes on. --pred scores maps of somebody else's segmenters, one folder a
seed, with the numbers of --labels.
"""

import argparse
import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from iou import Method, Row, compare, confusion, groups_of
from jaxtyping import UInt8
from labels import MSRS_CLASSES, Classes, classes, label_files, read_labels, read_names
from labels import resized_labels as resized
from learning import Budget, predictor, train

from cddfuse_jax.console import ArgumentParser, progress, report, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import alone_in, replacing
from cddfuse_jax.images import levels
from cddfuse_jax.images.colour import is_coloured, with_chroma
from cddfuse_jax.images.image_files import read_image, write_png
from cddfuse_jax.images.listing import images_by_stem

BUILT_IN = ("visible", "infrared", "mean", "max")
LEVEL = 0.05


def read_input(
    name: str, folders: Sequence[Path], names: Sequence[str], height: int, width: int
) -> UInt8[np.ndarray, "n h w 3"]:
    """Read the images of an input as RGB of one size.

    Args:
        name: "mean" and "max" are of the lumas of two folders, with the visible chroma put back.
        folders: one, or the visible and the infrared one.
        names: stems of the images.
        height: of the result; other images are resampled to it.
        width: likewise.

    Raises:
        InputError: an image is missing or cannot be read.
    """
    columns = []
    for folder in folders:
        found = images_by_stem(folder)
        if absent := [each for each in names if each not in found]:
            raise InputError(
                f"{folder}: no image for {len(absent)} of {len(names)} names, the first is "
                f"{absent[0]}"
            )
        columns.append([found[each] for each in names])
    images = np.empty((len(names), height, width, 3), np.uint8)
    for index, files in enumerate(progress(zip(*columns, strict=True), name, unit="image")):
        pair = [read_image(file) for file in files]
        pair = [x if x.shape[:2] == (height, width) else levels.resized(x, height, width)
                for x in pair]  # fmt: skip
        image = pair[0] if len(pair) == 1 else _mixed(name, *pair)
        images[index] = image if image.ndim == 3 else image[..., None]
    return images


def _mixed(name: str, visible: np.ndarray, infrared: np.ndarray) -> np.ndarray:
    lumas = levels.luma(visible), levels.luma(infrared)
    fused = np.maximum(*lumas) if name == "max" else (lumas[0] + lumas[1]) / 2
    return levels.to_8_bit(with_chroma(fused, visible) if is_coloured(visible) else fused)


def train_and_score(given: argparse.Namespace, kinds: Classes, budget: Budget) -> list[Method]:
    """Train and score every input with every seed; what OUT has already is kept.

    Raises:
        InputError: files are missing or of several sizes, an image is trained and tested on, or
            OUT holds a comparison with other settings.
    """
    inputs = dict(_input(text, given) for text in given.inputs)
    parts = read_names(given.train), read_names(given.test)
    if both := sorted(set(parts[0]) & set(parts[1])):
        raise InputError(f"an image is trained or tested on, {both[0]} is both")
    files = label_files(given.labels, parts[0] + parts[1])
    truth = np.stack([kinds.of(read_labels(file, kinds.stored)) for file in files.values()])
    height, width = (side // given.scale for side in truth.shape[1:])
    settings = {"classes": list(kinds.names), "scale": given.scale, "budget": budget._asdict(),
                "train_images": len(parts[0]), "test": parts[1]}  # fmt: skip
    file = given.out / "results.json"
    results = json.loads(file.read_text()) if file.exists() else {"settings": settings, "runs": []}
    if results["settings"] != settings:
        raise InputError(f"{file}: holds a comparison with other settings; name another --out")

    def confusions(name: str, seed: int) -> dict[str, Any] | None:
        return next((r["confusion"] for r in results["runs"]
                     if (r["input"], r["seed"]) == (name, seed)), None)  # fmt: skip

    count, names = len(parts[0]), parts[0] + parts[1]
    for seed in given.seeds:  # the outer loop: stopped early, all inputs are compared
        for name, folders in inputs.items():
            if confusions(name, seed):
                continue
            label = f"{name}, seed {seed}"
            images = read_input(name, folders, names, height, width)
            small = np.stack([resized(each, height, width) for each in truth[:count]])
            trained = train(images[:count], small, len(kinds.names), seed, budget, label)
            predict = predictor(trained, len(kinds.names), budget.width, *truth.shape[1:])
            counts = {}
            for index, test in enumerate(parts[1], start=count):
                (found,) = predict(images[index : index + 1])
                write_png(given.out / "predictions" / name / f"seed-{seed}" / f"{test}.png", found)
                counts[test] = confusion(truth[index], found, len(kinds.names)).tolist()
            results["runs"].append({"input": name, "seed": seed, "loss": trained.loss,
                                    "seconds": trained.seconds, "confusion": counts})  # fmt: skip
            with replacing(file) as temporary:
                temporary.write_text(json.dumps(results), encoding="utf-8")
            report(f"{label}: loss {trained.loss:.3f}, {trained.seconds:.0f} s")
    seeds = tuple(map(str, given.seeds))
    return [
        Method(name, seeds, np.array([list(confusions(name, s).values()) for s in given.seeds]))
        for name in inputs
    ]


def _input(text: str, given: argparse.Namespace) -> tuple[str, list[Path]]:
    name, equals, folder = text.partition("=")
    both = {"visible": [given.vi], "infrared": [given.ir]}
    if name in BUILT_IN and not equals:
        return name, both.get(name, [given.vi, given.ir])
    if not folder or name in BUILT_IN or not name.replace("-", "").replace("_", "").isalnum():
        raise InputError(f"an input is one of {', '.join(BUILT_IN)}, or NAME=DIR, got {text!r}")
    return name, [Path(folder)]


def score_maps(given: argparse.Namespace, kinds: Classes) -> tuple[list[Method], list[str]]:
    """Score label maps that were made elsewhere; every folder has every image.

    Raises:
        InputError: a map is missing, cannot be read or has another size than the true one.
    """
    names = read_names(given.test) if given.test else None
    truth, methods = label_files(given.labels, names), []
    for text in given.pred:
        name, _, folders = text.partition("=")
        counts = []
        for folder in map(Path, folders.split(",")):
            found = label_files(folder, list(truth))
            counts.append([_counted(truth[each], found[each], kinds) for each in truth])
        methods.append(Method(name, tuple(map(str, range(len(counts)))), np.array(counts)))
    return methods, list(truth)


def _counted(true: Path, predicted: Path, kinds: Classes) -> np.ndarray:
    maps = [kinds.of(read_labels(path, kinds.stored)) for path in (true, predicted)]
    if maps[0].shape != maps[1].shape or (maps[1] >= len(kinds.names)).any():
        raise InputError(f"{predicted}: needs a class of every pixel, and the size of {true}")
    return confusion(*maps, len(kinds.names))


def markdown(rows: Sequence[Row], names: Sequence[str], reference: str) -> str:
    """Lay out a table per group of images, in %."""
    lines = [
        "IoU in %, pixels summed over the images, ± standard deviation over seeds; beside "
        f"{reference}: difference in mIoU with its 95 % bootstrap interval over images; * is "
        "p < 0.05 after Holm's correction."
    ]
    for group in dict.fromkeys(row.group for row in rows):
        own = [row for row in rows if row.group == group]
        lines += ["", f"{group} ({own[0].images} images)", ""]
        lines += ["| | " + " | ".join([*names, "mIoU", f"beside {reference}"]) + " |"]
        lines += ["|---" * (len(names) + 3) + "|"]
        for row in own:
            spread = "" if math.isnan(row.deviation) else f" ± {100 * row.deviation:.1f}"
            beside = "-"
            if not math.isnan(row.difference):
                low, high = (f"{100 * x:+.1f}" for x in (row.low, row.high))
                star = r"\*" if row.p_holm < LEVEL else ""
                beside = f"{100 * row.difference:+.1f} [{low}, {high}]{star}"
            cells = ["-" if math.isnan(x) else f"{100 * x:.1f}" for x in row.iou]
            cells += [f"{100 * row.miou:.1f}{spread}", beside]
            lines += [f"| {row.method} | " + " | ".join(cells) + " |"]
    return "\n".join(lines) + "\n"


def write(given: argparse.Namespace, rows: Sequence[Row], names: Sequence[str]) -> None:
    """Write table.md and table.csv, and print the former."""
    text = markdown(rows, names, given.reference)
    with replacing(given.out / "table.md") as file:
        file.write_text(text, encoding="utf-8")
    with replacing(given.out / "table.csv") as path, open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        fields = [field for field in Row._fields if field != "iou"]
        writer.writerow([*fields, *(f"iou_{name}" for name in names)])
        for row in rows:
            cells = [*(getattr(row, field) for field in fields), *row.iou]
            writer.writerow([f"{x:.6g}" if isinstance(x, float) else x for x in cells])
    print(text, end="")


def main() -> int:
    """Read the arguments, train or score, and write the tables."""
    parser = ArgumentParser(
        "segment.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    for option in ("vi", "ir", "train", "test"):
        add(f"--{option}", type=Path)
    for option in ("labels", "out"):
        add(f"--{option}", type=Path, required=True)
    add("--input", dest="inputs", nargs="+", default=list(BUILT_IN), metavar="NAME[=DIR]")
    add("--pred", nargs="+", metavar="NAME=DIR,DIR")
    add("--classes", nargs="+", default=MSRS_CLASSES, help="names of the files' numbers")
    add("--keep", nargs="+", default=["car", "person", "bike"], help="others are one; or all")
    add("--groups", nargs="+", default=[], metavar="NAME=PATTERN", help="such as night='*N'")
    add("--reference", default="visible", help="the input or method beside which all are put")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add("--scale", type=int, default=2, help="images are 1/N of the labels' size")
    for name, value in Budget()._asdict().items():
        add(f"--{name}", type=type(value), default=value)
    given = parser.parse_args()
    kinds = classes(given.classes, given.keep)
    if given.pred:
        methods, names = score_maps(given, kinds)
    elif given.vi and given.ir and given.train and given.test:
        budget = Budget(**{name: getattr(given, name) for name in Budget._fields})
        with alone_in(given.out, "comparison"):
            methods = train_and_score(given, kinds, budget)
        names = read_names(given.test)
    else:
        raise InputError("give --vi, --ir, --train and --test to train, or --pred to score maps")
    if given.reference not in (method.name for method in methods):
        given.reference = methods[0].name
    write(given, compare(methods, groups_of(names, given.groups), given.reference), kinds.names)
    return 0


if __name__ == "__main__":
    run(main)
