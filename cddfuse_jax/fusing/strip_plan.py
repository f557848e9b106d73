"""What is computed in strips: the network's parts in their order, planned before any is computed.

`CDDFuse.fuse` itself says what is computed: it is called with feature maps that are only planned,
and its parts, instead of computing, plan what they make of them.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
from flax import linen as nn
from jaxtyping import Float

from cddfuse_jax.models import Residual
from cddfuse_jax.models.cddfuse import CDDFuse, Decoder, Encoder
from cddfuse_jax.models.detail import DetailFeatureExtraction
from cddfuse_jax.models.restormer import RestormerBlock, RestormerBlocks

Whole = Float[np.ndarray, "h w c"]  # features, or an image
# These are made of parts, each of which is computed in one go; every other module is one part.
_COMPOSED = (CDDFuse, Encoder, Decoder, RestormerBlocks, DetailFeatureExtraction)
_PARTS_OF_THEM = ((Encoder, "embed"), (Decoder, "join"), (Decoder, "image"))


class Part(NamedTuple):
    """A part of the network and what it is applied to: arrays, `Planned` ones, or None."""

    module: nn.Module
    method: str
    params: Any
    sources: tuple[Float[np.ndarray, "1 h w _"] | None, ...]


class Planned(np.ndarray):
    """A feature map yet to be computed, (1, h, w, c): the sum of what parts of the network make.

    It has an array's shape and type without its memory.

    Attributes:
        parts: which add up to it.
        readers: parts that are to read it.
        computed: the map, once it is and as long as there are readers.
    """

    parts: list[Part]
    readers: int
    computed: Whole | None

    @classmethod
    def of(cls, shape: tuple[int, ...], parts: list[Part]) -> "Planned":
        """Return a map of that shape, to be made of ``parts``."""
        planned = np.broadcast_to(np.float32(0), shape).view(cls)
        planned.parts, planned.readers, planned.computed = parts, 0, None
        return planned

    def __add__(self, other: "Planned") -> "Planned":
        return Planned.of(self.shape, self.parts + other.parts)


def plan_fusing(
    model: CDDFuse,
    variables,
    visible: Float[np.ndarray, "h w"],
    infrared: Float[np.ndarray, "h w"],
    residual: Residual,
) -> Planned:
    """Plan the image that `CDDFuse.fuse` makes."""
    model = model.clone(remat=False)  # whose coupling layers are of a class of their own
    images = (image[None, :, :, None] for image in (visible, infrared))
    with nn.intercept_methods(functools.partial(_plan_part, model)):
        return model.apply(variables, *images, residual, method="fuse")


def _plan_part(model: CDDFuse, compute, inputs, options, context) -> Any:
    """Plan what a part makes of its inputs; what is made of parts runs as ever."""
    module, method = context.module, context.method_name
    if isinstance(module, CDDFuse) and method == "encode_sums":
        visible, infrared = (module.encode(image)[:2] for image in inputs[:2])
        return visible[0] + infrared[0], visible[1] + infrared[1]
    if isinstance(module, RestormerBlocks) and method == "__call__":
        (x,), params = inputs, module.variables["params"]
        block = RestormerBlock(module.heads, parent=None)
        for i in range(module.count):
            x = _planned(model, block, "__call__", params[str(i)], (x,))
        return x
    composed = isinstance(module, _COMPOSED) and (type(module), method) not in _PARTS_OF_THEM
    if composed or method == "setup":
        return compute(*inputs, **options)
    unbound = module.clone(parent=None, name=None)
    return _planned(model, unbound, method, module.variables["params"], tuple(inputs))


def _planned(model, module, method, params, sources) -> Planned:
    for source in sources:
        if isinstance(source, Planned):
            source.readers += 1
    channels = model.channels if method == "image" else model.features
    shape = (*sources[0].shape[:3], channels)
    return Planned.of(shape, [Part(module, method, params, sources)])
