"""Fusing in strips of rows: the whole image's result, in memory that the strips bound.

Attention between channels needs sums over all pixels and nothing else of the image, so every block
runs in two passes over strips: one adds up the sums, the other applies the block. A strip is read
with as many rows of its neighbours as the pass has 3x3 convolutions in a row (the halo). Only
features of ``model.features`` channels are ever whole, three of them at most, in host memory.

Rows beyond the image are set anew before every convolution, to zero or to the row they mirror, in
the very array that it reads. Zeros in the input alone would not do: LayerNorm makes its bias of
them.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from cddfuse_jax.models.cddfuse import CDDFuse, select_residual
from cddfuse_jax.models.convolutions import conv3x3
from cddfuse_jax.models.inn import CouplingLayer
from cddfuse_jax.models.lite_transformer import BaseAttention, BaseFeatureExtraction
from cddfuse_jax.models.options import Residual
from cddfuse_jax.models.precision import summing_dtype
from cddfuse_jax.models.restormer import (
    MDTA,
    GramSums,
    LayerNorm,
    RestormerBlock,
    attention_kernel,
    gram_sums,
)

_ATTENTION = {RestormerBlock: MDTA, BaseFeatureExtraction: BaseAttention}


def fuse_in_strips(
    params, visible: np.ndarray, infrared: np.ndarray, residual: Residual, rows: int, dtype=None
) -> np.ndarray:
    """Fuse one pair as `CDDFuse.fuse` does, ``rows`` rows at a time.

    Strips of one height and width are compiled once, whatever the height of the image.

    Args:
        params: the network's.
        visible: (h, w), float, in [0, 1], h and w at least 2.
        infrared: like ``visible``.
        residual: what the decoder adds, as in `CDDFuse.fuse`.
        rows: rows of a strip, from 1; beside the whole features, memory grows with it.
        dtype: of features, as in `CDDFuse`.

    Returns:
        (h, w) in (0, 1), equal to the whole image's result but for rounding.
    """
    model = CDDFuse.from_params(params)
    strips = _Strips(rows)
    visible, infrared = visible[..., None], infrared[..., None]
    shape = (*visible.shape[:2], model.features)
    dtype = np.dtype(dtype or visible.dtype)
    base = np.zeros(shape, dtype)
    detail = None
    encoder, decoder = params["encoder"], params["decoder"]
    for image in (visible, infrared):
        shallow = np.empty(shape, dtype)
        embed = functools.partial(_embed, encoder["patch_embed"])
        strips.apply(embed, [image.astype(dtype)], shallow, halo=1)
        for i in range(model.blocks):
            strips.block(RestormerBlock, encoder["blocks"][str(i)], shallow, shallow)
        strips.block(BaseFeatureExtraction, encoder["base"], shallow, base, add=True)
        strips.coupling_layers(encoder["detail"], shallow)
        if detail is None:
            detail = shallow
        else:
            detail += shallow
        del shallow
    strips.block(BaseFeatureExtraction, params["base_fusion"], base, base)
    strips.coupling_layers(params["detail_fusion"], detail)
    reduce_channel = functools.partial(_reduce_channel, decoder["reduce_channel"])
    strips.apply(reduce_channel, [base, detail], base, halo=0)
    del detail
    for i in range(model.blocks):
        strips.block(RestormerBlock, decoder["blocks"][str(i)], base, base)
    added = select_residual(residual, visible, infrared)
    fused = np.empty_like(visible)
    output = functools.partial(_output, decoder["output1"], decoder["output2"])
    added = np.zeros_like(visible) if added is None else added
    strips.apply(output, [base, added], fused, halo=2)
    return fused[..., 0]


class _Strips:
    """Passes over whole arrays (h, w, c) in strips of ``rows`` rows."""

    def __init__(self, rows: int):
        self.rows = rows

    def apply(
        self,
        function: Callable,
        sources: Sequence[np.ndarray],
        out: np.ndarray,
        halo: int,
        add: bool = False,
    ) -> None:
        """Write into ``out`` (or add to it) what ``function`` makes of every strip of ``sources``.

        The function is called with the window's first row, the image's height, and the windows:
        strips with ``halo`` more rows on both sides. ``out`` may be one of the sources.
        """
        height = np.int32(len(out))
        windows = zip(*(self._windows(source, halo) for source in sources), strict=True)
        for first, strip in zip(range(0, len(out), self.rows), windows, strict=True):
            result = np.asarray(function(np.int32(first - halo), height, *strip))[0]
            result = result[: len(out) - first]
            if add:
                out[first : first + self.rows] += result
            else:
                out[first : first + self.rows] = result

    def block(self, kind: type[nn.Module], params, source, out, add: bool = False) -> None:
        """Apply a block with attention: once over the image for the sums, once for the result."""
        height = np.int32(len(source))
        parts = (
            _block_sums(kind, params, np.int32(first - 1), height, window)
            for first, window in zip(
                range(0, len(source), self.rows), self._windows(source, 1), strict=True
            )
        )
        # In float64: a large image has many strips.
        total = functools.reduce(
            lambda a, b: jax.tree.map(np.add, a, b),
            (jax.tree.map(lambda part: np.asarray(part, np.float64), each) for each in parts),
        )
        total = jax.tree.map(lambda each: each.astype(summing_dtype(source)), total)
        self.apply(functools.partial(_block, kind, params, total), [source], out, 2, add)

    def coupling_layers(self, params, features: np.ndarray) -> None:
        """Apply the detail branch to ``features`` in place."""
        for i in range(len(params)):
            layer = functools.partial(_coupling_layer, params[str(i)])
            self.apply(layer, [features], features, halo=2)

    def _windows(self, array: np.ndarray, halo: int) -> Iterator[np.ndarray]:
        """Yield the strips, (1, rows + 2·halo, w, c), zeros where they leave the array.

        What a window has read before is kept, so the array may be overwritten behind it.
        """

        def read(start, stop):
            part = array[start:stop]
            missing = stop - start - len(part)
            return np.pad(part, ((0, missing), (0, 0), (0, 0))) if missing else part

        beyond = np.zeros((halo, *array.shape[1:]), array.dtype)
        seen = np.concatenate([beyond, read(0, halo)])
        for first in range(0, len(array), self.rows):
            fresh = read(first + halo, first + halo + self.rows)
            window = np.concatenate([seen, fresh])
            yield window[None]
            seen = window[self.rows :]


class _Rows(NamedTuple):
    """Which rows a window shows: from ``first`` (negative above the image) on, of ``height``."""

    first: jax.Array
    height: jax.Array

    def border(self, x: jax.Array, mode: str = "constant") -> jax.Array:
        """Set the rows of (n, h, w, c) beyond the image to zero, or to the row they mirror."""
        row = self.first + jnp.arange(x.shape[1])
        if mode == "constant":
            inside = (row >= 0) & (row < self.height)
            return jnp.where(inside[:, None, None], x, 0)
        last = self.height - 1
        mirrored = last - jnp.abs(last - jnp.abs(row))
        return jnp.take(x, jnp.clip(mirrored - self.first, 0, x.shape[1] - 1), axis=1)


@jax.jit
def _embed(kernel, first, height, image):
    return conv3x3(image, kernel.astype(image.dtype))[:, 1:-1]


@functools.partial(jax.jit, static_argnums=0)
def _block_sums(kind, params, first, height, x) -> GramSums:
    rows = _Rows(first, height)

    def attend(q, k, v, temperature, project_out):
        # One row on each side saw what lies outside the window; others may be beyond the image.
        return gram_sums(*(rows.border(each)[:, 1:-1] for each in (q, k)))

    module = _ATTENTION[kind](_heads(params), rows.border, attend)
    x = LayerNorm().apply({"params": params["norm1"]}, x)
    return module.apply({"params": params["attn"]}, x)


@functools.partial(jax.jit, static_argnums=0)
def _block(kind, params, sums, first, height, x):
    def attend(q, k, v, temperature, project_out):
        return v @ attention_kernel(sums, temperature, project_out)[0].astype(v.dtype)

    module = kind(_heads(params), _Rows(first, height).border, attend)
    return module.apply({"params": params}, x)[:, 2:-2]


def _heads(params) -> int:
    attention = params["attn"]
    return attention.get("temperature", attention.get("scale")).shape[0]


@jax.jit
def _coupling_layer(params, first, height, x):
    layer = CouplingLayer(x.shape[-1], _Rows(first, height).border)
    return layer.apply({"params": params}, x)[:, 2:-2]


@jax.jit
def _reduce_channel(kernel, first, height, base, detail):
    return jnp.concatenate([base, detail], -1) @ kernel.astype(base.dtype)


@jax.jit
def _output(output1, output2, first, height, x, residual):
    output1, output2 = (kernel.astype(x.dtype) for kernel in (output1, output2))
    x = nn.leaky_relu(conv3x3(x, output1), 0.01)
    x = conv3x3(_Rows(first, height).border(x), output2).astype(summing_dtype(x))
    return nn.sigmoid(x + residual)[:, 2:-2]
