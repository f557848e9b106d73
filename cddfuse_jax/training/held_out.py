"""The loss on pairs that are not trained on."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from cddfuse_jax.data.sources import Images, Source
from cddfuse_jax.models import Precision
from cddfuse_jax.models.convolutions import AnyArray
from cddfuse_jax.models.precision import computed
from cddfuse_jax.training.distributed import gathered
from cddfuse_jax.training.update import Stage

Tree = dict[str, Any]


class HeldOut:
    """Loss on the centre crop of each held-out pair.

    With several processes each computes the loss of its share of the pairs, on its first device.

    Args:
        source: the pairs.
        crop: side of the window in pixels; where the smallest image is smaller, its side.
        precision: in which the loss is computed.
    """

    def __init__(self, source: Source, crop: int, precision: Precision):
        self.source = source
        sides = (min(size[1:]) for size in source.sizes if size is not None)
        self.crop = min([crop, *sides])
        self._precision = precision
        self._compiled: dict[str, Any] = {}

    def loss(self, stage: Stage, params: Tree) -> dict[str, float]:
        """Return the stage's total and loss parts, means over the pairs, equal on all processes."""
        params = jax.tree.map(lambda leaf: leaf.addressable_data(0), params)
        first, count = jax.process_index(), jax.process_count()
        own: dict[int, dict[str, float]] = {}
        # With fewer pairs than processes, some compute the first one as well, and do not count it.
        for index in range(first if first < len(self.source) else 0, len(self.source), count):
            window = _middle(self.source[index], self.crop)
            parts = self._of(stage)(params, window["visible"][None], window["infrared"][None])
            own[index] = {name: float(value) for name, value in parts.items()}
        names = list(next(iter(own.values())))
        losses = np.zeros((len(self.source), len(names)), np.float32)
        for index, parts in own.items():
            if index % count == first:
                losses[index] = list(parts.values())
        means = gathered(losses).sum(0).mean(0, dtype=np.float64)
        return dict(zip(names, map(float, means), strict=True))

    def _of(self, stage: Stage):
        def parts(
            params: Tree,
            visible: Float[AnyArray, "1 h w channels"],
            infrared: Float[AnyArray, "1 h w channels"],
        ) -> dict[str, Float[Array, ""]]:
            total, parts = stage.loss(params, visible, infrared)
            return {"total": total, **parts}

        if stage.name not in self._compiled:
            self._compiled[stage.name] = jax.jit(computed(parts, self._precision))
        return self._compiled[stage.name]


def _middle(pair: Images, side: int) -> Images:
    height, width, _ = pair["visible"].shape
    top, left = (height - side) // 2, (width - side) // 2
    return {name: image[top : top + side, left : left + side] for name, image in pair.items()}
