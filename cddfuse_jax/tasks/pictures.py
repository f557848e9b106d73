"""What the page shows of an image: the truth, and each method's map over what it was given."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cddfuse_jax.images import levels
from cddfuse_jax.images.image_files import read_image
from cddfuse_jax.images.pairs import images_by_stem
from cddfuse_jax.tasks.inputs import Input, Sources, input_files, read_input
from cddfuse_jax.tasks.labels import Classes, label_files, read_labels
from cddfuse_jax.tasks.page import Picture, Pictures


def of_inputs(
    inputs: Sequence[Input],
    sources: Sources,
    labels: Path,
    classes: Classes,
    names: Sequence[str],
    predictions: Mapping[str, Path],
) -> Pictures:
    """Show every input with its own predictions over it, after the truth over the visible image.

    Args:
        inputs: what the methods were given.
        sources: folders of the two images.
        labels: folder of the true maps.
        classes: of both kinds of maps; the predicted ones have the numbers of ``classes.names``.
        names: of the images.
        predictions: folder of label maps by input.
    """
    true_files = label_files(labels, names)
    files = {of.name: input_files(of, sources, names) for of in inputs}
    visible = input_files(Input("visible"), sources, names)

    def pictures(place: int) -> tuple[np.ndarray, list[Picture]]:
        truth = classes.of(read_labels(true_files[names[place]], classes.stored))

        def image_of(of: Input, paths: tuple[Path, ...]) -> np.ndarray:
            height, width = truth.shape
            return read_input(of, [paths], height, width, silent=True)[0]

        shown = [Picture("true labels", image_of(Input("visible"), visible[place]), truth)]
        for of in inputs:
            predicted = read_labels(
                predictions[of.name] / f"{names[place]}.png", len(classes.names)
            )
            shown.append(Picture(of.name, image_of(of, files[of.name][place]), predicted))
        return truth, shown

    return pictures


def of_maps(
    labels: Path,
    classes: Classes,
    predicted: Classes,
    names: Sequence[str],
    predictions: Mapping[str, Path],
    images: Path | None,
) -> Pictures:
    """Show every method's maps over one image, or over grey where none is given.

    Args:
        labels: folder of the true maps.
        classes: of the true maps.
        predicted: of the predicted ones.
        names: of the images.
        predictions: folder of label maps by method.
        images: folder of what to show beneath.
    """
    true_files = label_files(labels, names)
    files = {name: label_files(folder, names) for name, folder in predictions.items()}
    beneath = images_by_stem(images) if images else {}

    def pictures(place: int) -> tuple[np.ndarray, list[Picture]]:
        name = names[place]
        truth = classes.of(read_labels(true_files[name], classes.stored))
        image = np.full((*truth.shape, 3), 128, np.uint8)
        if name in beneath:
            read = levels.resized(read_image(beneath[name]), *truth.shape)
            image = read if read.ndim == 3 else read[..., None].repeat(3, -1)
        shown = [Picture("true labels", image, truth)]
        for method, found in files.items():
            of_method = predicted.of(read_labels(found[name], predicted.stored))
            shown.append(Picture(method, image, of_method))
        return truth, shown

    return pictures
