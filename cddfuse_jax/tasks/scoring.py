"""Label maps that somebody else's segmenters predicted, beside the true ones."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from cddfuse_jax.console import progress, report, report_error
from cddfuse_jax.errors import InputError
from cddfuse_jax.images.pairs import images_by_stem
from cddfuse_jax.tasks.iou import Method, confusion
from cddfuse_jax.tasks.labels import VOID, Classes, label_files, read_labels


class Predicted(NamedTuple):
    """One method's folders of label maps, one per seed."""

    name: str
    folders: tuple[Path, ...]


class Scored(NamedTuple):
    """Confusions of several methods on the same images, and how many images failed."""

    methods: list[Method]
    names: list[str]
    failed: int


def score_maps(
    labels: Path,
    predictions: list[Predicted],
    classes: Classes,
    predicted: Classes,
    names: list[str] | None,
) -> Scored:
    """Score label maps, matched by name. An image that fails in one folder is scored in none.

    Args:
        labels: the true maps.
        predictions: of each method.
        classes: of the true maps.
        predicted: of the predictions: the same, or those with the numbers of ``classes.names``.
        names: images to score; default: all of ``labels``.

    Raises:
        InputError: a folder is missing or lacks an image, or every image failed.
    """
    truth = label_files(labels, names)
    files = {}
    for each in predictions:
        for folder in each.folders:
            files[folder] = label_files(folder, list(truth))
            strange = len(images_by_stem(folder).keys() - truth.keys())
            if strange and names is None:
                report(f"note: {folder}: {strange} maps of images without true labels left out")
    done: dict[str, list[list[np.ndarray]]] = {}
    for name, path in progress(truth.items(), "score", unit="image"):
        try:
            true = read_labels(path, classes.stored)
            done[name] = [
                [_counted(true, files[folder][name], classes, predicted) for folder in each.folders]
                for each in predictions
            ]
        except InputError as error:
            report_error(str(error))
    if not done:
        raise InputError(f"{labels}: no image could be scored")
    methods = [
        Method(
            each.name,
            tuple(map(str, range(len(each.folders)))),
            np.array(
                [[of[place][seed] for of in done.values()] for seed in range(len(each.folders))]
            ),
        )
        for place, each in enumerate(predictions)
    ]
    return Scored(methods, list(done), len(truth) - len(done))


def _counted(true: np.ndarray, path: Path, classes: Classes, predicted: Classes) -> np.ndarray:
    found = read_labels(path, predicted.stored)
    if found.shape != true.shape:
        sizes = ["x".join(map(str, each.shape[::-1])) for each in (found, true)]
        raise InputError(
            f"{path}: a prediction has the size of its true labels, {sizes[1]}, this one is "
            f"{sizes[0]}; resample it by the nearest pixel"
        )
    where = predicted.of(found)
    if (where == VOID).any():
        raise InputError(f"{path}: a prediction says a class of every pixel, this one has 255")
    return confusion(classes.of(true), where, len(classes.names))
