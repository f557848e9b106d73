"""Average precision of boxes that were predicted elsewhere, by faster-coco-eval."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cddfuse_jax.errors import InputError, install
from cddfuse_jax.tasks.boxes import Boxed, BoxSet, as_coco


class Precision(NamedTuple):
    """What boxes of one method score, COCO's way: 101 points of recall, at most 100 an image.

    Attributes:
        method: its name.
        ap50: average precision at an IoU of 0.5, mean over the classes that have objects.
        ap: the same, mean over the IoUs 0.50, 0.55, ..., 0.95.
        of_classes: AP at 0.5 by class; NaN for one without objects.
    """

    method: str
    ap50: float
    ap: float
    of_classes: tuple[float, ...]


def average_precision(truth: BoxSet, method: str, predicted: Sequence[Boxed]) -> Precision:
    """Score one method's boxes.

    Raises:
        InputError: faster-coco-eval is not installed, there is nothing to find, or boxes are of an
            image or a class that is not there.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError:
        raise InputError(f"boxes are scored by faster-coco-eval: {install('downstream')}") from None
    if not any(image.boxes for image in truth.images):
        raise InputError("the truth holds no box; precision is of something to find")
    results = _results(truth, method, predicted)
    if not results:
        none = tuple(0.0 if any(_named(truth, name)) else np.nan for name in truth.names)
        return Precision(method, 0.0, 0.0, none)
    whole = COCO(as_coco(truth))
    judge = COCOeval_faster(whole, whole.loadRes(results), "bbox", print_function=_silent)
    judge.evaluate()
    judge.accumulate()
    # IoU, recall, class, area, most boxes: the last two at "all" and 100; -1 is nothing to find.
    table = judge.eval["precision"][..., 0, -1]
    table = np.where(table < 0, np.nan, table)
    of_classes = tuple(float(x) for x in table[0].mean(0))
    return Precision(method, float(np.nanmean(table[0])), float(np.nanmean(table)), of_classes)


def _results(truth: BoxSet, method: str, predicted: Sequence[Boxed]) -> list[dict[str, Any]]:
    numbers = {image.name: number for number, image in enumerate(truth.images, start=1)}
    results = []
    for image in predicted:
        if image.name not in numbers:
            raise InputError(f"{method}: boxes for {image.name}, an image that is not there")
        for box in image.boxes:
            if box.name not in truth.names:
                raise InputError(
                    f"{method}: a box of {box.name}; looked for are {', '.join(truth.names)}"
                )
            results.append(
                {
                    "image_id": numbers[image.name],
                    "category_id": truth.names.index(box.name) + 1,
                    "bbox": [box.left, box.top, box.width, box.height],
                    "score": box.score,
                }
            )
    return results


def _named(truth: BoxSet, name: str):
    return (box.name == name for image in truth.images for box in image.boxes)


def _silent(*_: object, **__: object) -> None:
    pass


def markdown(scored: Sequence[Precision], names: Sequence[str], images: int) -> str:
    """Lay out a row per method, in percent."""

    def told(value: float) -> str:
        return "-" if np.isnan(value) else f"{100 * value:.1f}"

    heads = ["", *(f"{name} AP50" for name in names), "AP50", "AP50:95"]
    lines = [f"Average precision in %, COCO's way, over {images} images.", ""]
    lines += [f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
    for each in scored:
        cells = [told(x) for x in (*each.of_classes, each.ap50, each.ap)]
        lines.append(f"| {' | '.join([each.method, *cells])} |")
    return "\n".join(lines) + "\n"
