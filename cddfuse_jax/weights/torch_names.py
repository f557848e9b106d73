"""The PyTorch release's .pth files to parameters and back: a table of names, a rule of layouts."""

import itertools
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cddfuse_jax.errors import InputError, install
from cddfuse_jax.files import replacing
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.weights.pth_file import StoredTensor, one_line, read_pth

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
    small = model.clone(blocks=1, coupling_layers=1)
    image = jax.ShapeDtypeStruct((1, 8, 8, model.channels), jnp.float32)
    params = jax.eval_shape(small.init, jax.random.key(0), image, image)["params"]

    def torch_shape(entry):  # of an array that takes no memory, however large
        path = ["0" if name.isdigit() else name for name in entry.path]
        array = np.broadcast_to(np.float32(0), _leaf(params, path).shape)
        return to_torch(array, entry.layout).shape

    return {entry: torch_shape(entry) for entry in name_table(model)}


def load(path: str | os.PathLike) -> dict[str, Any]:
    """Read a .pth file of the release's format into params, without PyTorch.

    Any network sizes are read, as long as all tensors agree on them; keys may start with
    ``module.`` or not.

    Returns:
        Params for `CDDFuse.from_params`: a tree of float32 NumPy arrays.

    Raises:
        InputError: not a checkpoint, or tensors are missing, extra or misshapen, which are listed.
    """
    tensors = _flatten(path, read_pth(path))
    model = _infer_model(tensors)
    problems = _problems(tensors, model)
    if problems:
        # Perhaps what is wrong also misled about the sizes: say what is shorter.
        problems = min(
            problems, _problems(tensors, CDDFuse()), key=lambda kinds: sum(map(len, kinds.values()))
        )
        listed = (f"{len(names)} {kind}: {', '.join(names)}" for kind, names in problems.items())
        raise InputError(f"{path}: not CDDFuse weights; {'; '.join(listed)}")
    params: dict[str, Any] = {}
    for entry in name_table(model):
        array = tensors[entry.torch_module, entry.torch_key].array().astype(np.float32)
        node = params
        for name in entry.path[:-1]:
            node = node.setdefault(name, {})
        node[entry.path[-1]] = np.ascontiguousarray(from_torch(array, entry.layout))
    return params


def state_dicts(params: dict[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """Return params as the release saves them: four state dicts of float32, keys ``module.…``."""
    result: dict[str, dict[str, np.ndarray]] = {}
    for entry in name_table(CDDFuse.from_params(params)):
        array = to_torch(np.asarray(_leaf(params, entry.path), np.float32), entry.layout)
        tensors = result.setdefault(entry.torch_module, {})
        tensors[f"module.{entry.torch_key}"] = np.ascontiguousarray(array)
    return result


def save(params: dict[str, Any], path: str | os.PathLike) -> None:
    """Write params as a .pth file that the release loads. Needs PyTorch.

    Raises:
        InputError: PyTorch is not installed, or the file cannot be written.
    """
    try:
        import torch
    except ImportError:
        raise InputError(f"writing a .pth file needs PyTorch: {install('torch')}") from None
    content = {
        module: {key: torch.from_numpy(array.copy()) for key, array in tensors.items()}
        for module, tensors in state_dicts(params).items()
    }
    with replacing(path) as temporary:
        torch.save(content, temporary)


def _leaf(tree, path):
    for name in path:
        tree = tree[name]
    return tree


def _flatten(path, content) -> dict[tuple[str, str], StoredTensor]:
    tensors = {}
    for module, state in dict.items(content):
        if not isinstance(module, str) or not isinstance(state, dict):
            raise InputError(
                f"{path}: expected a dict of state dicts, as the release saves, "
                f"found {_name(module)} of type {type(state).__name__}"
            )
        for key, tensor in dict.items(state):
            if not isinstance(key, str) or not isinstance(tensor, StoredTensor):
                raise InputError(f"{path}: {_name(module)} {_name(key)} is no tensor")
            name = key.removeprefix("module.")
            if (module, name) in tensors:
                raise InputError(
                    f"{path}: {_name(module)} {_name(name)} is there twice, "
                    "with and without 'module.'"
                )
            tensors[module, name] = tensor
    return tensors


def _infer_model(tensors) -> CDDFuse:
    """Return the model of the sizes that the tensors show; the release's where they show none."""

    def shape(key, rank):
        tensor = tensors.get(("DIDF_Encoder", key))
        return tensor.shape if tensor and len(tensor.shape) == rank else (0,) * rank

    def count(prefix):
        # Up to the first gap: a stray large number is an extra tensor, not a sign of many missing.
        numbers = {
            key.removeprefix(prefix).split(".")[0]
            for module, key in tensors
            if module == "DIDF_Encoder" and key.startswith(prefix)
        }
        return next(n for n in itertools.count() if str(n) not in numbers)

    release = CDDFuse()
    features, channels = shape("patch_embed.proj.weight", 4)[:2]
    heads = shape("baseFeature.attn.scale", 3)[0]
    sizes = {"features": features, "heads": heads, "channels": channels}
    if not all(sizes.values()) or features % 2 or features % heads:
        sizes = {}
    return release.clone(
        blocks=count("encoder_level1.") or release.blocks,
        coupling_layers=count("detailFeature.net.") or release.coupling_layers,
        **sizes,
    )


def _problems(tensors, model: CDDFuse) -> dict[str, list[str]]:
    shapes = {
        (entry.torch_module, entry.torch_key): shape
        for entry, shape in expected_shapes(model).items()
    }
    found = {
        "missing": [_name(" ".join(name)) for name in sorted(shapes.keys() - tensors.keys())],
        "extra": [_name(" ".join(name)) for name in sorted(tensors.keys() - shapes.keys())],
        "misshapen": [
            f"{' '.join(name)} {_size(tensors[name].shape)} (expected {_size(shape)})"
            for name, shape in sorted(shapes.items())
            if name in tensors and tensors[name].shape != shape
        ],
    }
    return {kind: names for kind, names in found.items() if names}


def _name(name) -> str:
    return one_line(name) if isinstance(name, str) else f"a key of type {type(name).__name__}"


def _size(shape) -> str:
    return "x".join(map(str, shape)) or "scalar"
