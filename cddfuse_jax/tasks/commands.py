"""What each subcommand of `cddfuse_jax.downstream` does with its arguments."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from cddfuse_jax.errors import InputError
from cddfuse_jax.files import check_outputs, replacing
from cddfuse_jax.runtime import compilation_cache
from cddfuse_jax.tasks import box_files, detecting, exporting, pictures, tables
from cddfuse_jax.tasks.boxes import BoxSet, boxes_of_folder, write_coco
from cddfuse_jax.tasks.detecting import average_precision
from cddfuse_jax.tasks.inputs import BUILT_IN, Sources, is_name, parse_input
from cddfuse_jax.tasks.iou import Method, compare, groups_of
from cddfuse_jax.tasks.labels import MSRS_CLASSES, classes, read_names
from cddfuse_jax.tasks.learning import Budget
from cddfuse_jax.tasks.page import Pictures, write_page
from cddfuse_jax.tasks.scoring import Predicted, score_maps
from cddfuse_jax.tasks.segmenting import Plan, Split
from cddfuse_jax.tasks.segmenting import segment as train_and_score

FILES = ("table.md", "table.csv", "table.tex")
PAGE = "report.html"


def segment(given: Namespace) -> int:
    """Train and score the same segmenter on several inputs."""
    inputs = [parse_input(text) for text in given.inputs or BUILT_IN]
    names = [each.name for each in inputs]
    if len(set(names)) < len(names):
        raise InputError(f"each --input has a name of its own, got {', '.join(names)}")
    if given.width % 8 or not given.rate > 0:
        raise InputError("--width is a multiple of 8 and --rate more than 0")
    if not 0 <= given.balance <= 1:
        raise InputError(f"--balance is 0 to 1, got {given.balance:g}")
    _check_reference(given.reference, names)
    plan = Plan(
        inputs,
        Sources(given.vi, given.ir),
        given.labels,
        Split(read_names(given.train), read_names(given.test)),
        classes(given.classes or MSRS_CLASSES, given.keep),
        given.scale,
        list(dict.fromkeys(given.seeds)),
        Budget(
            given.updates,
            given.batch,
            given.crop,
            given.rate,
            width=given.width,
            balance=given.balance,
        ),
    )
    groups = groups_of(plan.split.test, given.groups)
    read = [given.vi, given.ir, given.labels, *(each.folder for each in inputs if each.folder)]
    check_outputs([given.out], read, overwrite=True)  # what is there is gone on from
    compilation_cache.enable()
    folders = {n: given.out / "predictions" / n / f"seed-{plan.seeds[0]}" for n in names}
    shown = pictures.of_inputs(
        inputs, plan.sources, plan.labels, plan.classes, plan.split.test, folders
    )
    for methods in train_and_score(plan, given.out):
        text = write(
            given.out, methods, plan.classes.names, groups, given.reference, plan.split.test, shown
        )
    print(text, end="")
    return 0


def score(given: Namespace) -> int:
    """Score label maps or boxes that were predicted elsewhere; 1 when images failed."""
    written = (*FILES, PAGE) if given.labels else FILES[:1]
    predictions = [_predicted(text) for text in given.pred]
    names = [each.name for each in predictions]
    if len(set(names)) < len(names):
        raise InputError(f"each --pred has a name of its own, got {', '.join(names)}")
    read = [path for path in (given.boxes, given.names) if path]
    read += [folder for each in predictions for folder in each.folders]
    check_outputs([given.out / name for name in written], read, given.overwrite)
    if given.boxes:
        return _score_boxes(given, predictions)
    reference = given.reference or names[0]
    _check_reference(reference, names)
    told = classes(given.classes or MSRS_CLASSES, given.keep)
    wanted = read_names(given.names) if given.names else None
    predicted = classes(told.names, ["all"]) if given.kept_numbers else told
    scored = score_maps(given.labels, predictions, told, predicted, wanted)
    groups = groups_of(scored.names, given.groups)
    folders = {each.name: each.folders[0] for each in predictions}
    shown = pictures.of_maps(given.labels, told, predicted, scored.names, folders, given.images)
    text = write(given.out, scored.methods, told.names, groups, reference, scored.names, shown)
    print(text, end="")
    return 1 if scored.failed else 0


def _predicted(text: str) -> Predicted:
    name, equals, paths = text.partition("=")
    if not equals or not is_name(name) or not all(paths.split(",")):
        raise InputError(
            f"--pred takes NAME=PATH, or NAME=PATH,PATH of several seeds, got {text!r}"
        )
    return Predicted(name, tuple(map(Path, paths.split(","))))


def _score_boxes(given: Namespace, predictions: Sequence[Predicted]) -> int:
    truth = box_files.read_coco(given.boxes)
    sizes = {image.name: (image.height, image.width) for image in truth.images}
    scored = []
    for each in predictions:
        if len(each.folders) > 1:
            raise InputError(f"--pred {each.name}: boxes are of one file or folder, got several")
        path = each.folders[0]
        found = (
            box_files.read_yolo(path, truth.names, sizes, predicted=True)
            if path.is_dir()
            else box_files.read_coco_results(path, given.boxes)
        )
        scored.append(average_precision(truth, each.name, found))
    text = detecting.markdown(scored, truth.names, len(truth.images))
    with replacing(given.out / FILES[0]) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text, end="")
    return 0


def boxes(given: Namespace) -> int:
    """Write boxes as COCO JSON."""
    if given.yolo and not given.images:
        raise InputError("--yolo tells shares of an image: name the folder of them with --images")
    read = [path for path in (given.labels, given.voc, given.yolo, given.names) if path]
    check_outputs([given.out], read, given.overwrite)
    if given.labels:
        told = classes(given.classes or MSRS_CLASSES, given.keep)
        wanted = read_names(given.names) if given.names else None
        found = boxes_of_folder(given.labels, told, wanted, given.least)
    elif given.voc:
        found = box_files.read_voc(given.voc, None if given.keep == ["all"] else given.keep)
    else:
        sizes = box_files.sizes_of(given.images)
        found = BoxSet(tuple(given.keep), box_files.read_yolo(given.yolo, given.keep, sizes))
    write_coco(given.out, found)
    for name in found.names:
        own = [box for image in found.images for box in image.boxes if box.name == name]
        print(f"{name}: {len(own)} boxes")
    print(f"{given.out}: {len(found.images)} images")
    return 0


def export(given: Namespace) -> int:
    """Write images and boxes as trainers of detectors take them."""
    found = box_files.read_coco(given.boxes)
    parts = {"train": read_names(given.train), "val": read_names(given.test)}
    inputs = [_predicted(text) for text in given.inputs]
    read = [each.folders[0] for each in inputs]
    check_outputs([given.out / each.name for each in inputs], read, given.overwrite)
    for each in inputs:
        count = exporting.export(each.folders[0], found, parts, given.out / each.name)
        print(f"{given.out / each.name / 'data.yaml'}: {count} images")
    return 0


def write(
    out: Path,
    methods: Sequence[Method],
    names: Sequence[str],
    groups: dict[str, list[int]],
    reference: str,
    images: Sequence[str],
    shown: Pictures,
) -> str:
    """Write the three tables and the page of a comparison; return the table in Markdown."""
    rows = compare(methods, groups, reference)
    seeds = max(len(method.seeds) for method in methods)
    text = tables.markdown(rows, names, reference, seeds)
    for file, written in (
        (FILES[0], text),
        (FILES[2], tables.latex(rows, names, reference, seeds)),
    ):
        with replacing(out / file) as temporary:
            temporary.write_text(written, encoding="utf-8")
    tables.write_csv(out / FILES[1], rows, names)
    title = f"Segmentation: {', '.join(method.name for method in methods)}"
    write_page(out / PAGE, title, rows, methods, names, reference, images, shown)
    return text


def _check_reference(reference: str, names: Sequence[str]) -> None:
    if reference not in names:
        raise InputError(f"--reference names one of {', '.join(names)}, got {reference}")
