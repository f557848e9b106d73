"""Fusing in strips of rows: the whole image's result, in memory that the strips bound.

`CDDFuse.fuse` itself says what is computed: it is called with feature maps that are only planned,
and its parts, instead of computing, plan what they make of them. The plan is then carried out part
by part, each over all strips.

Attention between channels needs sums over all pixels and nothing else of the image, so every block
runs in two passes over strips: one adds up the sums, the other applies the block. A strip is read
with as many rows of its neighbours as the pass has 3x3 convolutions in a row (the halo), and rows
beyond the image are set anew before every convolution, see `extent.Strip`. Only features of
``model.features`` channels are ever whole, three of them at most, in host memory.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from cddfuse_jax.models.arrays import AnyArray
from cddfuse_jax.models.attention import GramSums
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.models.encoder_decoder import Decoder, Encoder
from cddfuse_jax.models.extent import Strip
from cddfuse_jax.models.inn import CouplingLayer
from cddfuse_jax.models.lite_transformer import BaseFeatureExtraction
from cddfuse_jax.models.options import Residual
from cddfuse_jax.models.precision import summing_dtype
from cddfuse_jax.models.restormer import RestormerBlock, RestormerBlocks

Whole = Float[np.ndarray, "h w c"]  # features, or an image
Window = Float[AnyArray, "1 rows w _"]  # what a strip reads of one
# The parts of the network that are computed in one pass, and their 3x3 convolutions in a row.
_HALOS = {
    (Encoder, "embed"): 1,
    (RestormerBlock, "__call__"): 2,
    (BaseFeatureExtraction, "__call__"): 2,
    (CouplingLayer, "__call__"): 2,
    (Decoder, "join"): 0,
    (Decoder, "image"): 2,
}
_ALIGNMENT = 64  # bytes, XLA's on CPUs
_ATTENDING = (RestormerBlock, BaseFeatureExtraction)  # one 3x3 convolution before the sums


def fuse_in_strips(
    model: CDDFuse,
    variables,
    visible: Float[np.ndarray, "h w"],
    infrared: Float[np.ndarray, "h w"],
    residual: Residual,
    rows: int,
    half: bool = False,
) -> Float[np.ndarray, "h w"]:
    """Fuse one pair as `CDDFuse.fuse` does, ``rows`` rows at a time.

    Strips of one height and width are compiled once, whatever the height of the image.

    Args:
        model: the network.
        variables: its ``{"params": params}``.
        visible: in [0, 1], h and w at least 2.
        infrared: likewise.
        residual: what the decoder adds, as in `CDDFuse.fuse`.
        rows: rows of a strip, from 1; beside the whole features, memory grows with it.
        half: keep whole features in float16, in half of their memory.

    Returns:
        An image in (0, 1), equal to the whole image's result but for rounding.
    """
    model = model.clone(remat=False)  # whose coupling layers are of a class of their own
    images = (image[None, :, :, None] for image in (visible, infrared))
    with nn.intercept_methods(functools.partial(_plan_part, model)):
        fused = model.apply(variables, *images, residual, method="fuse")
    return _Strips(rows, half).computed(fused)[..., 0]


class _Part(NamedTuple):
    """A part of the network and what it is applied to: arrays, `_Planned` ones, or None."""

    module: nn.Module
    method: str
    params: Any
    sources: tuple[Float[np.ndarray, "1 h w _"] | None, ...]


class _Planned(np.ndarray):
    """A feature map yet to be computed, (1, h, w, c): the sum of what parts of the network make.

    It has an array's shape and type without its memory.

    Attributes:
        parts: which add up to it.
        readers: parts that are to read it.
        computed: the map, once it is and as long as there are readers.
    """

    parts: list[_Part]
    readers: int
    computed: Whole | None

    @classmethod
    def of(cls, shape: tuple[int, ...], parts: list[_Part]) -> "_Planned":
        planned = np.broadcast_to(np.float32(0), shape).view(cls)
        planned.parts, planned.readers, planned.computed = parts, 0, None
        return planned

    def __add__(self, other: "_Planned") -> "_Planned":
        return _Planned.of(self.shape, self.parts + other.parts)


def _plan_part(model: CDDFuse, compute, inputs, options, context) -> Any:
    """Plan what a part makes of its inputs; what is made of parts runs as ever."""
    module, method = context.module, context.method_name
    if isinstance(module, CDDFuse) and method == "encode_sums":
        visible, infrared = (module.encode(image)[:2] for image in inputs[:2])
        return visible[0] + infrared[0], visible[1] + infrared[1]
    if isinstance(module, RestormerBlocks) and method == "__call__":
        (x, _), params = inputs, module.variables["params"]
        block = RestormerBlock(module.heads, parent=None)
        for i in range(module.count):
            x = _planned(model, block, "__call__", params[str(i)], (x,))
        return x
    if (type(module), method) not in _HALOS:
        return compute(*inputs, **options)
    *sources, _ = inputs  # the last is an extent
    unbound = module.clone(parent=None, name=None)
    return _planned(model, unbound, method, module.variables["params"], tuple(sources))


def _planned(model, module, method, params, sources) -> _Planned:
    for source in sources:
        if isinstance(source, _Planned):
            source.readers += 1
    channels = model.channels if method == "image" else model.features
    shape = (*sources[0].shape[:3], channels)
    return _Planned.of(shape, [_Part(module, method, params, sources)])


class _Strips:
    """Passes over whole arrays in strips of ``rows`` rows."""

    def __init__(self, rows: int, half: bool):
        self.rows, self.half = rows, half

    def computed(self, planned: _Planned) -> Whole:
        """Compute a feature map, and what it is made of, in as few arrays as can be."""
        if planned.computed is None:
            for part in planned.parts:
                planned.computed = self._add(planned.computed, part)
        return planned.computed

    def _add(self, total: Whole | None, part: _Part) -> Whole:
        """Return ``total`` with a part's result added, or that result if there is no total yet."""
        sources, spare = [], None
        for source in part.sources:
            array = None if source is None else source[0]
            if isinstance(source, _Planned):
                array = self.computed(source)
                source.readers -= 1
                if not source.readers:
                    source.computed = None
                    spare = array if spare is None else spare
            sources.append(array)
        return self._apply(part, sources, spare, total)

    def _apply(
        self,
        part: _Part,
        sources: list[Float[np.ndarray, "h w _"] | None],
        spare: Float[np.ndarray, "h w _"] | None,
        total: Whole | None,
    ) -> Whole:
        """Apply a part to whole arrays; the result may take the place of ``spare``, a source."""
        module, method, params, _ = part
        known = self._sums(module, params, sources[0]) if type(module) in _ATTENDING else None
        halo = _HALOS[type(module), method]
        height = len(sources[0])
        windows = zip(*(self._windows(x, height, halo) for x in sources), strict=True)
        out = total
        for first, window in zip(range(0, height, self.rows), windows, strict=True):
            extent = Strip(np.int32(first - halo), np.int32(height), known)
            result = np.asarray(_strip(module, method, params, extent, *window))[0]
            result = result[: height - first]
            if out is None:
                shape = (height, *result.shape[1:])
                kept = np.dtype(np.float16) if self.half and method != "image" else result.dtype
                like = spare is not None and (spare.shape, spare.dtype) == (shape, kept)
                out = spare if like else np.empty(shape, kept)
            if total is None:
                out[first : first + self.rows] = result
            else:
                out[first : first + self.rows] += result
        return out

    def _sums(self, module: nn.Module, params, source: Whole) -> GramSums:
        """Return the sums over the whole image that a block's attention asks for."""
        height = np.int32(len(source))
        firsts, windows = range(0, len(source), self.rows), self._windows(source, len(source), 1)
        parts = (
            _strip_sums(module, params, Strip(np.int32(first - 1), height), window)
            for first, window in zip(firsts, windows, strict=True)
        )
        # In float64: a large image has many strips.
        total = functools.reduce(
            lambda a, b: jax.tree.map(np.add, a, b),
            (jax.tree.map(lambda part: np.asarray(part, np.float64), each) for each in parts),
        )
        return jax.tree.map(lambda each: each.astype(summing_dtype(source)), total)

    def _windows(self, array: Whole | None, height: int, halo: int) -> Iterator[Window | None]:
        """Yield windows: a strip's rows and ``halo`` more on both sides, zeros beyond the array.

        Each lies where the one before lay. What a window has read before is kept, so the array may
        be overwritten behind it.
        """
        if array is None:
            yield from [None] * len(range(0, height, self.rows))
            return
        # NumPy widens float16 as it copies: XLA cannot on CPUs that have no instruction for it.
        dtype = np.dtype(np.float32) if array.dtype == np.float16 else array.dtype
        window = _aligned_zeros((self.rows + 2 * halo, *array.shape[1:]), dtype)

        def read(start: int, stop: int, into: Whole) -> None:
            part = array[start:stop]
            into[: len(part)] = part
            into[len(part) :] = 0

        read(0, halo, window[halo : 2 * halo])
        for first in range(0, height, self.rows):
            if first:
                window[: 2 * halo] = window[self.rows :]
            read(first + halo, first + halo + self.rows, window[2 * halo :])
            yield window[None]


def _aligned_zeros(shape: tuple[int, ...], dtype: np.dtype) -> Whole:
    """Return zeros at an address at which a compiled program reads them without a copy."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _strip(
    module: nn.Module,
    method: str,
    params,
    extent: Strip,
    *windows: Window | None,
) -> Float[Array, "1 _ w c"]:
    result = module.apply({"params": params}, *windows, extent, method=method)
    halo = _HALOS[type(module), method]
    return result[:, halo : result.shape[1] - halo]


@functools.partial(jax.jit, static_argnums=0)
def _strip_sums(module: nn.Module, params, extent: Strip, window: Window) -> GramSums:
    kept = module.apply({"params": params}, window, extent, mutable="intermediates")[1]
    (sums,) = jax.tree.leaves(kept, is_leaf=lambda each: isinstance(each, GramSums))
    return sums
