"""What is computed in strips: the network's parts in their order, planned before any is computed.

`CDDFuse.fuse` is run on placeholders, and the calls of its parts are recorded; `strips` then
computes them, strip by strip.
"""

import functools
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax import linen as nn
from jaxtyping import Float

from cddfuse_jax.errors import InputError
from cddfuse_jax.models import Residual
from cddfuse_jax.models.cddfuse import CDDFuse, FusionLayer, Sum
from cddfuse_jax.models.decoder import Decoder, Output
from cddfuse_jax.models.detail import DetailFeatureExtraction
from cddfuse_jax.models.encoder import Encoder
from cddfuse_jax.models.restormer import RestormerBlocks

Whole = Float[np.ndarray, "h w c"]  # features, or an image
# These are made of parts, each of which is computed in one go; every other module is one part.
_COMPOSED = (CDDFuse, Encoder, Decoder, FusionLayer, Sum, DetailFeatureExtraction)


class NotInPartsError(InputError):
    """The network does something between its parts that cannot be computed in strips."""


class Planned:
    """A feature map yet to be computed, (1, h, w, c): the sum of what parts of the network make.

    All that can be done with it is to add it to another, and to apply parts to it.

    Attributes:
        shape: of the map.
        dtype: float32, for annotations of arrays.
        parts: which add up to it.
        readers: parts that are to read it.
        computed: the map, once it is and as long as there are readers.
    """

    __array_ufunc__ = None  # NumPy's arrays leave operations to this class

    def __init__(self, shape: tuple[int, ...], parts: "list[Part]"):
        self.shape, self.parts = shape, parts
        self.ndim, self.dtype = len(shape), np.dtype(np.float32)
        self.readers = 0
        self.computed: Whole | None = None

    def __add__(self, other: Any) -> "Planned":
        if not isinstance(other, Planned):
            return NotImplemented
        return Planned(self.shape, self.parts + other.parts)


class Part(NamedTuple):
    """A part of the network and what it is applied to: arrays, `Planned` ones, or None."""

    module: nn.Module
    params: Any
    sources: tuple[Float[np.ndarray, "1 h w _"] | Planned | None, ...]


def plan_fusing(
    model: CDDFuse,
    variables,
    visible: Float[np.ndarray, "h w"],
    infrared: Float[np.ndarray, "h w"],
    residual: Residual,
) -> Planned:
    """Plan the image that `CDDFuse.fuse` makes.

    Raises:
        NotInPartsError: between its parts it does more than to add features.
    """
    model = model.clone(remat=False)  # whose coupling layers are of a class of their own
    images = [image[None, :, :, None] for image in (visible, infrared)]
    try:
        with nn.intercept_methods(functools.partial(_plan_part, model)):
            planned = model.apply(variables, *images, residual, method="fuse")
    except (TypeError, AttributeError) as error:
        lines = traceback.extract_tb(error.__traceback__)
        libraries = {"jax", "flax", "jaxtyping", "beartype"}
        own = [each for each in lines if not libraries & set(Path(each.filename).parts)] or lines
        raise NotInPartsError(
            f"between the network's parts, {Path(own[-1].filename).name} does more than add "
            f"features, in line {own[-1].lineno}: {own[-1].line}"
        ) from error
    if not isinstance(planned, Planned) or len(planned.parts) != 1:
        raise NotInPartsError("what the network returns is not what its last part returns")
    return planned


def _plan_part(model: CDDFuse, compute, inputs, options, context) -> Any:
    """Plan what a part makes of its inputs; what is made of parts runs as ever."""
    module, method = context.module, context.method_name
    if type(module) is CDDFuse and method == "encode_pair":
        visible, infrared = (module.encode(image)[:2] for image in inputs)
        return visible, infrared
    if type(module) is RestormerBlocks and method == "__call__":
        (x,), params = inputs, module.variables["params"]
        block = module.make_block(model.features, parent=None)
        for i in range(module.count):
            x = _planned(model, block, params[str(i)], (x,))
        return x
    if type(module) in _COMPOSED or method == "setup":
        return compute(*inputs, **options)
    if method != "__call__" or options:
        raise NotInPartsError(f"{type(module).__name__}.{method} is no part by itself")
    unbound = module.clone(parent=None, name=None)
    return _planned(model, unbound, module.variables.get("params", {}), tuple(inputs))


def _planned(model: CDDFuse, module: nn.Module, params: Any, sources: tuple) -> Planned:
    for source in sources:
        if isinstance(source, Planned):
            source.readers += 1
    channels = model.channels if isinstance(module, Output) else model.features
    return Planned((*sources[0].shape[:3], channels), [Part(module, params, sources)])
