"""Scores without a reference by the library pyiqa, an optional extra: ``pyiqa:niqe``."""

import functools
import math

import numpy as np

from cddfuse_jax.errors import InputError, one_line
from cddfuse_jax.metrics.record import Metric

PREFIX = "pyiqa:"


@functools.cache
def no_reference(name: str) -> Metric:
    """Return the score ``pyiqa:NAME`` of the fused image, by pyiqa on the CPU.

    Grey becomes three equal channels. The first use of a NAME downloads its weights.

    Raises:
        InputError: no pyiqa, a NAME that is none of its no-reference scores, or weights that
            cannot be had. The score itself raises it where pyiqa fails or gives no number.
    """
    try:
        import pyiqa
        import torch
    except Exception as error:  # not there, or versions that do not fit each other
        raise InputError(
            f"{name} needs pyiqa (the extra [pyiqa]), which cannot be imported: "
            f"{one_line(error)}; pip install pyiqa"
        ) from None
    model = name[len(PREFIX) :]
    if model not in (known := pyiqa.list_models(metric_mode="NR")):
        raise InputError(
            f"pyiqa has no no-reference score {model!r}; choose from {', '.join(known)}"
        )
    try:
        network = pyiqa.create_metric(model, device="cpu")
    except Exception as error:  # of any library that downloads or reads weights
        raise InputError(
            f"{name} cannot be loaded, its weights are downloaded at first use: {one_line(error)}"
        ) from None

    def score(fused: np.ndarray) -> float:
        channels = np.broadcast_to(np.atleast_3d(fused), (*fused.shape[:2], 3))
        image = torch.from_numpy(channels.transpose(2, 0, 1)[None].astype(np.float32) / 255)
        try:
            value = float(network(image))
        except Exception as error:  # of any network, such as on an image that is too small
            raise InputError(f"{name}: pyiqa fails on this image: {one_line(error)}") from None
        if not math.isfinite(value):
            raise InputError(f"{name} of this image is {value}; leave the score or the image out")
        return value

    return Metric(
        name,
        score,
        unit=f"pyiqa's: {network.score_range}",
        measures="quality of the fused image alone, learned or of natural statistics",
        source=f"pyiqa {pyiqa.__version__}",
        protocols=(),
        better="lower" if network.lower_better else "higher",
        needs_sources=False,
        channels="together",
    )
