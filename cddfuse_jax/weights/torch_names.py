"""The release's tensors and this package's params: a table of names and shapes, rules of layout.

A shape is torch's, in terms of the network's sizes: f features, h heads, c channels.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cddfuse_jax.models.cddfuse import CDDFuse

# How a tensor lies in torch and here: its torch axes in our order, after dropping axes of length 1.
VECTOR = "vector"  # (c)               as it is
HEADS = "heads"  # (heads, 1, 1)     to (heads)
POINTWISE = "1x1"  # (out, in, 1, 1)   to (in, out)
CONV = "3x3"  # (out, in, 3, 3)   to (3, 3, in, out)

NORMS = (
    ("norm1.body.weight", "norm1/weight", VECTOR, "f"),
    ("norm1.body.bias", "norm1/bias", VECTOR, "f"),
    ("norm2.body.weight", "norm2/weight", VECTOR, "f"),
    ("norm2.body.bias", "norm2/bias", VECTOR, "f"),
)
RESTORMER_BLOCK = (
    *NORMS,
    ("attn.temperature", "attn/temperature", HEADS, "h 1 1"),
    ("attn.qkv.weight", "attn/qkv", POINTWISE, "3f f 1 1"),
    ("attn.qkv_dwconv.weight", "attn/qkv_dwconv", CONV, "3f 1 3 3"),
    ("attn.project_out.weight", "attn/project_out", POINTWISE, "f f 1 1"),
    ("ffn.project_in.weight", "ffn/project_in", POINTWISE, "4f f 1 1"),
    ("ffn.dwconv.weight", "ffn/dwconv", CONV, "4f 1 3 3"),
    ("ffn.project_out.weight", "ffn/project_out", POINTWISE, "f 2f 1 1"),
)
BASE_FEATURE_EXTRACTION = (
    *NORMS,
    ("attn.scale", "attn/scale", HEADS, "h 1 1"),
    ("attn.qkv1.weight", "attn/qkv1", POINTWISE, "3f f 1 1"),
    ("attn.qkv2.weight", "attn/qkv2", CONV, "3f 3f 3 3"),
    ("attn.proj.weight", "attn/proj", POINTWISE, "f f 1 1"),
    ("mlp.project_in.weight", "mlp/project_in", POINTWISE, "2f f 1 1"),
    ("mlp.dwconv.weight", "mlp/dwconv", CONV, "2f 2 3 3"),
    ("mlp.project_out.weight", "mlp/project_out", POINTWISE, "f f 1 1"),
)
COUPLING_LAYER = (
    ("theta_phi.bottleneckBlock.0.weight", "phi/expand", POINTWISE, "f f/2 1 1"),
    ("theta_phi.bottleneckBlock.3.weight", "phi/depthwise", CONV, "f 1 3 3"),
    ("theta_phi.bottleneckBlock.5.weight", "phi/project", POINTWISE, "f/2 f 1 1"),
    ("theta_rho.bottleneckBlock.0.weight", "rho/expand", POINTWISE, "f f/2 1 1"),
    ("theta_rho.bottleneckBlock.3.weight", "rho/depthwise", CONV, "f 1 3 3"),
    ("theta_rho.bottleneckBlock.5.weight", "rho/project", POINTWISE, "f/2 f 1 1"),
    ("theta_eta.bottleneckBlock.0.weight", "eta/expand", POINTWISE, "f f/2 1 1"),
    ("theta_eta.bottleneckBlock.3.weight", "eta/depthwise", CONV, "f 1 3 3"),
    ("theta_eta.bottleneckBlock.5.weight", "eta/project", POINTWISE, "f/2 f 1 1"),
    ("shffleconv.weight", "shuffle_kernel", POINTWISE, "f f 1 1"),
    ("shffleconv.bias", "shuffle_bias", VECTOR, "f"),
)
OUTPUT = (
    ("output.0.weight", "output1", CONV, "f/2 f 3 3"),
    ("output.2.weight", "output2", CONV, "c f/2 3 3"),
)
ENCODER, DECODER = "DIDF_Encoder", "DIDF_Decoder"


class Entry(NamedTuple):
    """One tensor: its state dict and key in the release, its path in the params, layout, shape."""

    torch_module: str
    torch_key: str
    path: tuple[str, ...]
    layout: str
    shape: tuple[int, ...]  # in torch


def name_table(model: CDDFuse) -> Iterator[Entry]:
    """Yield an `Entry` for each tensor of ``model``; keys come without the prefix ``module.``."""
    f = model.features
    sizes = {"f": f, "f/2": f // 2, "2f": 2 * f, "3f": 3 * f, "4f": 4 * f}
    sizes |= {"h": model.heads, "c": model.channels}

    def entries(torch_module, torch_prefix, prefix, rows):
        for key, path, layout, text in rows:
            full_path = tuple(f"{prefix}/{path}".split("/"))
            shape = tuple(sizes[side] if side in sizes else int(side) for side in text.split())
            yield Entry(torch_module, torch_prefix + key, full_path, layout, shape)

    yield from entries(
        ENCODER, "", "encoder", [("patch_embed.proj.weight", "patch_embed", CONV, "f c 3 3")]
    )
    for i in range(model.blocks):
        yield from entries(ENCODER, f"encoder_level1.{i}.", f"encoder/blocks/{i}", RESTORMER_BLOCK)
    yield from entries(ENCODER, "baseFeature.", "encoder/base", BASE_FEATURE_EXTRACTION)
    for i in range(model.coupling_layers):
        yield from entries(
            ENCODER, f"detailFeature.net.{i}.", f"encoder/detail/{i}", COUPLING_LAYER
        )
    yield from entries(
        DECODER, "", "decoder", [("reduce_channel.weight", "reduce_channel", POINTWISE, "f 2f 1 1")]
    )
    for i in range(model.blocks):
        yield from entries(DECODER, f"encoder_level2.{i}.", f"decoder/blocks/{i}", RESTORMER_BLOCK)
    yield from entries(DECODER, "", "decoder", OUTPUT)
    yield from entries("BaseFuseLayer", "", "base_fusion", BASE_FEATURE_EXTRACTION)
    yield from entries("DetailFuseLayer", "net.0.", "detail_fusion/0", COUPLING_LAYER)


def from_torch(array: np.ndarray, layout: str) -> np.ndarray:
    """Lay a torch tensor out as this package does."""
    if layout == HEADS:
        return array[:, 0, 0]
    if layout == POINTWISE:
        return array[:, :, 0, 0].T
    return array.transpose(2, 3, 1, 0) if layout == CONV else array


def to_torch(array: np.ndarray, layout: str) -> np.ndarray:
    """Undo `from_torch`."""
    if layout == HEADS:
        return array[:, None, None]
    if layout == POINTWISE:
        return array.T[:, :, None, None]
    return array.transpose(3, 2, 0, 1) if layout == CONV else array
