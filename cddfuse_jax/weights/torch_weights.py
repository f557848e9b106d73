"""The release's state dicts, from any file that holds them, to params and back."""

import itertools
import math
import os
from typing import Any

import numpy as np
from flax import traverse_util

from cddfuse_jax.errors import InputError, escaped
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.weights.pth_file import SAVE, StoredTensor, read_pth
from cddfuse_jax.weights.torch_names import from_torch, name_table, to_torch

MODULES = {"DIDF_Encoder", "DIDF_Decoder", "BaseFuseLayer", "DetailFuseLayer"}
WRAPPERS = ("state_dict", "model_state_dict", "model", "params", "weights", "net")
# What DataParallel, torch.compile, Lightning, FSDP and the like put into names, at any place.
PREFIXES = {"module", "_orig_mod", "model", "_forward_module", "_fsdp_wrapped_module"}
MOST_TENSORS, MOST_FEATURES, MOST_LAYERS = 10_000, 4096, 256
SHOWN = 12  # names of a kind in a complaint


def load(path: str | os.PathLike) -> dict[str, Any]:
    """Read a .pth file of the release's format into params, without PyTorch."""
    return to_params(path, read_pth(path))


def to_params(path: str | os.PathLike, content: dict[str, Any]) -> dict[str, Any]:
    """Return the params that four state dicts hold.

    Any network sizes are read, as long as all tensors agree on them; keys may start with
    ``module.`` or not, and have other wrappers' `PREFIXES`.

    Args:
        path: the file that errors name.
        content: a dict of state dicts, with a `StoredTensor` for each tensor.

    Returns:
        Params for `CDDFuse.from_params`: a tree of float32 NumPy arrays.
    """
    tensors = _flatten(path, _unwrapped(content))
    if len(tensors) > MOST_TENSORS:
        raise InputError(f"{path}: not CDDFuse weights; {len(tensors)} tensors, far too many")
    # Tensors may share storages, and then be larger together than any file.
    storages = {id(tensor.storage): tensor.storage.size for tensor in tensors.values()}
    if sum(math.prod(tensor.shape) for tensor in tensors.values()) > sum(storages.values()):
        raise InputError(f"{path}: refused, its tensors are together larger than what is stored")
    model = _infer_model(tensors)
    problems = _problems(tensors, model)
    if problems:
        # Perhaps what is wrong also misled about the sizes: say what is shorter.
        problems = min(
            problems, _problems(tensors, CDDFuse()), key=lambda kinds: sum(map(len, kinds.values()))
        )
        listed = (f"{len(names)} {kind}: {_first(names)}" for kind, names in problems.items())
        raise InputError(f"{path}: not CDDFuse weights; {'; '.join(listed)}")
    params: dict[tuple[str, ...], np.ndarray] = {}
    for entry in name_table(model):
        with np.errstate(over="ignore"):  # infinities are the caller's to refuse
            array = tensors[entry.torch_module, entry.torch_key].array().astype(np.float32)
        params[entry.path] = np.ascontiguousarray(from_torch(array, entry.layout))
    return traverse_util.unflatten_dict(params)


def state_dicts(params: dict[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """Return params as the release saves them: four state dicts of float32, keys ``module.…``."""
    result: dict[str, dict[str, np.ndarray]] = {}
    leaves = traverse_util.flatten_dict(params)
    for entry in name_table(CDDFuse.from_params(params)):
        array = to_torch(np.asarray(leaves[entry.path], np.float32), entry.layout)
        tensors = result.setdefault(entry.torch_module, {})
        tensors[f"module.{entry.torch_key}"] = np.ascontiguousarray(array)
    return result


def _unwrapped(content: dict[str, Any]) -> dict[str, Any]:
    """Return the state dicts of a training program's checkpoint, which holds more than them."""
    for _ in range(3):
        keys = (*WRAPPERS, *PREFIXES)
        inner = next((content[key] for key in keys if isinstance(content.get(key), dict)), None)
        if inner is None or MODULES & content.keys():
            break
        content = inner
    if not MODULES & content.keys():
        # One state dict of a module of modules: "DIDF_Encoder.patch_embed.proj.weight".
        split: dict[str, Any] = {}
        for name, tensor in dict.items(content):  # an OrderedDict's own order is not filled
            module, dot, key = _bare(str(name)).partition(".")
            if module in MODULES and isinstance(tensor, dict):
                split[module] = tensor
            elif dot and module in MODULES:
                split.setdefault(module, {})[key] = tensor
            else:
                return content
        return split
    return content


def _bare(name: str) -> str:
    """Return a tensor's name without what wrappers put into it."""
    return ".".join(part for part in name.split(".") if part not in PREFIXES)


def _flatten(path, content) -> dict[tuple[str, str], StoredTensor]:
    tensors = {}
    for module, state in dict.items(content):
        if not isinstance(module, str) or not isinstance(state, dict):
            raise InputError(
                f"{path}: expected a dict of state dicts, as the release saves, "
                f"found {_name(module)} of type {type(state).__name__}; {SAVE}"
            )
        for key, tensor in dict.items(state):
            if not isinstance(key, str) or not isinstance(tensor, StoredTensor):
                raise InputError(f"{path}: {_name(module)} {_name(key)} is no tensor")
            name = _bare(key)
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
        return next(n for n in itertools.count() if str(n) not in numbers or n == MOST_LAYERS)

    release = CDDFuse()
    features, channels = shape("patch_embed.proj.weight", 4)[:2]
    heads = shape("baseFeature.attn.scale", 3)[0]
    sizes = {"features": features, "heads": heads, "channels": channels}
    if not all(sizes.values()) or features % 2 or features % heads or features > MOST_FEATURES:
        sizes = {}
    return release.clone(
        blocks=count("encoder_level1.") or release.blocks,
        coupling_layers=count("detailFeature.net.") or release.coupling_layers,
        **sizes,
    )


def _problems(tensors, model: CDDFuse) -> dict[str, list[str]]:
    shapes = {(entry.torch_module, entry.torch_key): entry.shape for entry in name_table(model)}
    found = {
        "missing": [_name(" ".join(name)) for name in sorted(shapes.keys() - tensors.keys())],
        "extra": [_name(" ".join(name)) for name in sorted(tensors.keys() - shapes.keys())],
        "misshapen": [
            f"{' '.join(name)} {_size(tensors[name].shape)} (expected {_size(shape)})"
            for name, shape in shapes.items()  # what gives the sizes comes first
            if name in tensors and tensors[name].shape != shape
        ],
    }
    return {kind: names for kind, names in found.items() if names}


def _first(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _name(name) -> str:
    return escaped(name[:100]) if isinstance(name, str) else f"a key of type {type(name).__name__}"


def _size(shape) -> str:
    return "x".join(map(str, shape)) or "scalar"
