"""Scores by name, of arrays as they come."""

from collections.abc import Iterable
from typing import Optional, Union

import numpy as np
from numpy.typing import ArrayLike

from cddfuse_jax.metrics.arrays import Planes, planes, scaled
from cddfuse_jax.metrics.protocols import protocol_named
from cddfuse_jax.metrics.record import Metric


def compute(
    fused: ArrayLike,
    visible: Optional[ArrayLike] = None,
    infrared: Optional[ArrayLike] = None,
    names: Union[Iterable[str], str, None] = None,
    protocol: str = "release",
    data_range: Optional[float] = None,
) -> dict[str, float]:
    """Compute scores of one fused image.

    Args:
        fused: HxW or HxWx3, any boolean, integer or float type; see ``data_range``.
        visible: of the same height and width; needed unless all scores are of the fused image
            alone (EN, SD, SF, AG, EI, definition).
        infrared: as ``visible``.
        names: scores to compute, such as ["VIF", "Qcb"]; default: all of the protocol.
        protocol: a name in `PROTOCOLS`: how the scores that it defines are computed, and what all
            scores take of images in colour. Scores that it does not define are those of `METRICS`.
        data_range: the value of white; default: 255 for uint8, 65535 for uint16.
            Other types are taken as 0-255, and must be given where they may be 0-1 as well.

    Returns:
        Score by name, in the order asked for.

    Raises:
        InputError: an unknown score or protocol, images that do not fit each other, a value that
            is not finite or out of range, or an image smaller than a score's window.
    """
    chosen = protocol_named(protocol)
    if names is None:
        names = chosen.metrics
    metrics = [chosen.metric(name) for name in ([names] if isinstance(names, str) else names)]
    given = {"fused": fused, "visible": visible, "infrared": infrared}
    images = tuple(
        scaled(image, name, data_range) for name, image in given.items() if image is not None
    )
    if len(images) < 3:
        images = images[:1]
    return score_planes(metrics, planes(images, chosen.colour))


def score_planes(metrics: Iterable[Metric], split: list[Planes]) -> dict[str, float]:
    """Score what `planes` split: each score by its own rule for channels."""
    scores = {}
    for metric in metrics:
        if metric.channels != "mean" and len(split) > 1:
            join = np.hstack if metric.channels == "adjacent" else np.dstack
            scores[metric.name] = metric.of(*(join(same) for same in zip(*split)))
            continue
        different = {id(each): each for each in split}  # three equal channels are scored once
        values = {key: metric.of(*each) for key, each in different.items()}
        scores[metric.name] = sum(values[id(each)] for each in split) / len(split)
    return scores
