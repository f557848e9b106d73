"""Fusing in strips of rows: the whole image's result, in memory that the strips bound.

What `strip_plan` has planned is carried out part by part, each over all strips.

Attention between channels needs sums over all pixels and nothing else of the image, so a block
runs in passes over strips: one for each of its sums, and a last one that applies it. A strip is
read with as many rows of its neighbours as the pass has 3x3 convolutions (the halo), and rows
beyond the image are set again before every convolution, see `extent.Strip`. Only features of
``model.features`` channels are ever whole, three of them at most, in host memory.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from cddfuse_jax.fusing.strip_plan import Part, Planned, Whole, plan_fusing
from cddfuse_jax.models import Residual
from cddfuse_jax.models.attention import GramSums
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.models.convolutions import AnyArray, summing_dtype
from cddfuse_jax.models.decoder import Output
from cddfuse_jax.models.extent import Strip, of_arrays

Source = Float[np.ndarray, "h w _"]  # what a part is applied to, of any number of channels
Window = Float[AnyArray, "1 rows w _"]  # what a strip reads of one
_found_halos: dict[Any, list[int]] = {}
_ALIGNMENT = 64  # bytes, XLA's on CPUs


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

    Memory is that of the whole features, half of it with ``half``, which keeps them in float16, and
    grows with ``rows``. Strips of one height and width are compiled once, whatever the height of
    the image. The result is that of the whole image but for rounding.
    """
    fused = plan_fusing(model, variables, visible, infrared, residual)
    return _Strips(rows, half).computed(fused)[..., 0]


class _Strips:
    """Passes over whole arrays in strips of ``rows`` rows."""

    def __init__(self, rows: int, half: bool):
        self.rows, self.half = rows, half

    def computed(self, planned: Planned) -> Whole:
        """Compute a feature map, and what it is made of, in as few arrays as can be."""
        if planned.computed is None:
            for part in planned.parts:
                planned.computed = self._add(planned.computed, part)
        return planned.computed

    def _add(self, total: Whole | None, part: Part) -> Whole:
        """Return ``total`` with a part's result added, or that result if there is no total yet."""
        sources, spare = [], None
        for source in part.sources:
            if isinstance(source, Planned):
                sources.append(self.computed(source))
                source.readers -= 1
                if not source.readers:
                    source.computed = None
                    spare = sources[-1] if spare is None else spare
            else:
                sources.append(None if source is None else source[0])
        return self._apply(part, sources, spare, total)

    def _apply(
        self,
        part: Part,
        sources: list[Source | None],
        spare: Source | None,
        total: Whole | None,
    ) -> Whole:
        """Apply a part to whole arrays; the result may take the place of ``spare``, a source."""
        module, params, _ = part
        height = len(sources[0])
        *halos, halo = _halos(module, params, sources)
        known: tuple[GramSums, ...] = ()
        for each in halos:
            known += (self._sums(part, sources, each, known),)
        out = total
        for first, place, window in self._strips(sources, halo):
            result = np.asarray(_strip(module, halo, params, place, known, *window))[0]
            result = result[: height - first]
            if out is None:
                shape = (height, *result.shape[1:])
                kept = (
                    np.dtype(np.float16)
                    if self.half and not isinstance(module, Output)
                    else result.dtype
                )
                like = spare is not None and (spare.shape, spare.dtype) == (shape, kept)
                out = spare if like else np.empty(shape, kept)
            if total is None:
                out[first : first + self.rows] = result
            else:
                out[first : first + self.rows] += result
        return out

    def _sums(
        self,
        part: Part,
        sources: list[Source | None],
        halo: int,
        known: tuple[GramSums, ...],
    ) -> GramSums:
        """Return the first unknown sums over the whole image that a part asks for."""
        module, params, _ = part
        shares = (
            _strip_sums(module, halo, params, place, known, *window)
            for _, place, window in self._strips(sources, halo)
        )
        # In float64: a large image has many strips.
        total = functools.reduce(
            lambda a, b: jax.tree.map(np.add, a, b),
            (jax.tree.map(lambda part: np.asarray(part, np.float64), each) for each in shares),
        )
        return jax.tree.map(lambda each: each.astype(summing_dtype(sources[0])), total)

    def _strips(
        self, sources: list[Source | None], halo: int
    ) -> Iterator[tuple[int, tuple[np.int32, np.int32], tuple[Window | None, ...]]]:
        """Yield each strip's first row, where its window lies, and the window of every source."""
        height = len(sources[0])
        windows = zip(*(self._windows(x, height, halo) for x in sources), strict=True)
        for first, window in zip(range(0, height, self.rows), windows, strict=True):
            yield first, (np.int32(first - halo), np.int32(height)), window

    def _windows(self, array: Whole | None, height: int, halo: int) -> Iterator[Window | None]:
        """Yield windows: a strip's rows and ``halo`` more on both sides, zeros beyond the array.

        Each lies where the one before lay. What a window has read before is kept, so the array may
        be overwritten behind it.
        """
        if array is None:
            yield from [None] * len(range(0, height, self.rows))
            return
        # NumPy widens float16 as it copies: XLA cannot on CPUs that have no instruction for it.
        dtype = _dtype(array)
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


def _halos(module: nn.Module, params, sources) -> list[int]:
    """Return the halo of each pass: one for each of the sums that a part asks for, and the last."""
    inputs = tuple(x if x is None else (x.shape[1:], _dtype(x).name) for x in sources)
    key = module, inputs
    if key not in _found_halos:
        _found_halos[key] = list(_traced_halos(module, params, inputs))
    return _found_halos[key]


def _traced_halos(module: nn.Module, params, inputs) -> Iterator[int]:
    known: tuple[Any, ...] = ()
    windows = [x if x is None else jax.ShapeDtypeStruct((1, 9, *x[0]), x[1]) for x in inputs]
    while True:
        extent = Strip(np.int32(0), np.int32(9), 1, known)

        def share(params, *windows, extent=extent):
            with of_arrays(extent):
                module.apply({"params": params}, *windows)
            return extent.share

        found = jax.eval_shape(share, params, *windows)
        if found is None:
            yield extent.borders
            return
        yield extent.borders_before
        known += (jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), found),)


def _dtype(array: np.ndarray) -> np.dtype:
    return np.dtype(np.float32) if array.dtype == np.float16 else array.dtype


@functools.partial(jax.jit, static_argnums=(0, 1))
def _strip(
    module: nn.Module, halo: int, params, place, known, *windows: Window | None
) -> Float[Array, "1 _ w c"]:
    with of_arrays(Strip(*place, halo, known)):
        result = module.apply({"params": params}, *windows)
    return result[:, halo : result.shape[1] - halo]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _strip_sums(
    module: nn.Module, halo: int, params, place, known, *windows: Window | None
) -> GramSums:
    extent = Strip(*place, halo, known)
    with of_arrays(extent):
        module.apply({"params": params}, *windows)
    return extent.share
