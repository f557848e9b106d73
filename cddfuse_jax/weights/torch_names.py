"""The release's tensor names beside this package's params: a table of names, a rule of layouts."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cddfuse_jax.models.cddfuse import CDDFuse

# How a tensor lies in torch and here: its torch axes in our order, after dropping axes of length 1.
VECTOR = "vector"  # (c)               as it is
HEADS = "heads"  # (heads, 1, 1)     to (heads)
POINTWISE = "1x1"  # (out, in, 1, 1)   to (in, out)
CONV = "3x3"  # (out, in, 3, 3)   to (3, 3, in, out)

NORMS = (
    ("norm1.body.weight", "norm1/weight", VECTOR),
    ("norm1.body.bias", "norm1/bias", VECTOR),
    ("norm2.body.weight", "norm2/weight", VECTOR),
    ("norm2.body.bias", "norm2/bias", VECTOR),
)
RESTORMER_BLOCK = (
    *NORMS,
    ("attn.temperature", "attn/temperature", HEADS),
    ("attn.qkv.weight", "attn/qkv", POINTWISE),
    ("attn.qkv_dwconv.weight", "attn/qkv_dwconv", CONV),
    ("attn.project_out.weight", "attn/project_out", POINTWISE),
    ("ffn.project_in.weight", "ffn/project_in", POINTWISE),
    ("ffn.dwconv.weight", "ffn/dwconv", CONV),
    ("ffn.project_out.weight", "ffn/project_out", POINTWISE),
)
BASE_FEATURE_EXTRACTION = (
    *NORMS,
    ("attn.scale", "attn/scale", HEADS),
    ("attn.qkv1.weight", "attn/qkv1", POINTWISE),
    ("attn.qkv2.weight", "attn/qkv2", CONV),
    ("attn.proj.weight", "attn/proj", POINTWISE),
    ("mlp.project_in.weight", "mlp/project_in", POINTWISE),
    ("mlp.dwconv.weight", "mlp/dwconv", CONV),
    ("mlp.project_out.weight", "mlp/project_out", POINTWISE),
)
COUPLING_LAYER = (
    ("theta_phi.bottleneckBlock.0.weight", "phi/expand", POINTWISE),
    ("theta_phi.bottleneckBlock.3.weight", "phi/depthwise", CONV),
    ("theta_phi.bottleneckBlock.5.weight", "phi/project", POINTWISE),
    ("theta_rho.bottleneckBlock.0.weight", "rho/expand", POINTWISE),
    ("theta_rho.bottleneckBlock.3.weight", "rho/depthwise", CONV),
    ("theta_rho.bottleneckBlock.5.weight", "rho/project", POINTWISE),
    ("theta_eta.bottleneckBlock.0.weight", "eta/expand", POINTWISE),
    ("theta_eta.bottleneckBlock.3.weight", "eta/depthwise", CONV),
    ("theta_eta.bottleneckBlock.5.weight", "eta/project", POINTWISE),
    ("shffleconv.weight", "shuffle_kernel", POINTWISE),
    ("shffleconv.bias", "shuffle_bias", VECTOR),
)


class Entry(NamedTuple):
    """One tensor: its state dict and key in the release, its path in the params, its layout."""

    torch_module: str
    torch_key: str
    path: tuple[str, ...]
    layout: str


def name_table(model: CDDFuse) -> Iterator[Entry]:
    """Yield an `Entry` for each tensor of ``model``; keys come without the prefix ``module.``."""

    def entries(torch_module, torch_prefix, prefix, rows):
        for key, path, layout in rows:
            full_path = tuple(f"{prefix}/{path}".split("/"))
            yield Entry(torch_module, torch_prefix + key, full_path, layout)

    encoder, decoder = "DIDF_Encoder", "DIDF_Decoder"
    yield from entries(encoder, "", "encoder", [("patch_embed.proj.weight", "patch_embed", CONV)])
    for i in range(model.blocks):
        yield from entries(encoder, f"encoder_level1.{i}.", f"encoder/blocks/{i}", RESTORMER_BLOCK)
    yield from entries(encoder, "baseFeature.", "encoder/base", BASE_FEATURE_EXTRACTION)
    for i in range(model.coupling_layers):
        yield from entries(
            encoder, f"detailFeature.net.{i}.", f"encoder/detail/{i}", COUPLING_LAYER
        )
    yield from entries(
        decoder, "", "decoder", [("reduce_channel.weight", "reduce_channel", POINTWISE)]
    )
    for i in range(model.blocks):
        yield from entries(decoder, f"encoder_level2.{i}.", f"decoder/blocks/{i}", RESTORMER_BLOCK)
    yield from entries(decoder, "", "decoder", [("output.0.weight", "output1", CONV)])
    yield from entries(decoder, "", "decoder", [("output.2.weight", "output2", CONV)])
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


def expected_shapes(model: CDDFuse) -> dict[Entry, tuple[int, ...]]:
    """Return the torch shape of each tensor of ``model``."""
    # Blocks of a kind are equal in shape: one of each is enough, however many a file claims.
    params = _shapes(model.clone(blocks=1, coupling_layers=1))

    def torch_shape(entry):  # of an array that takes no memory, however large
        path = ["0" if name.isdigit() else name for name in entry.path]
        array = np.broadcast_to(np.float32(0), leaf(params, path).shape)
        return to_torch(array, entry.layout).shape

    return {entry: torch_shape(entry) for entry in name_table(model)}


@functools.lru_cache  # tracing the network takes a third of a second, and loading asks twice
def _shapes(model: CDDFuse):
    image = jax.ShapeDtypeStruct((1, 8, 8, model.channels), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), image, image)["params"]


def leaf(tree, path):
    """Return what lies in nested mappings at a path of keys."""
    for name in path:
        tree = tree[name]
    return tree
