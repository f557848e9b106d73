"""safetensors files: the release's tensors by name, and strings about them. No PyTorch.

A tensor is called as in the release's state dicts, after the module whose state dict it is in:
``DIDF_Encoder.module.patch_embed.proj.weight``. So one file serves both worlds. Those of a network
with custom parts are called by their path here: ``encoder/base/kernel``.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from cddfuse_jax.errors import InputError, escaped
from cddfuse_jax.files import replacing
from cddfuse_jax.weights.pth_file import StoredTensor

SUFFIX = ".safetensors"


def read_safetensors(
    path: str | os.PathLike,
) -> tuple[dict[str, dict[str, StoredTensor]], dict[str, str]]:
    """Read a safetensors file.

    Returns:
        The state dicts by module, and the metadata, {} where the file has none.
    """
    states: dict[str, dict[str, StoredTensor]] = {}
    try:
        with safetensors.safe_open(os.fspath(path), framework="np") as file:
            metadata = file.metadata() or {}
            for name in file.keys():  # noqa: SIM118 (the file is no mapping)
                kind = file.get_slice(name).get_dtype()
                if kind not in ("F16", "BF16", "F32", "F64"):
                    raise InputError(
                        f"{path}: {escaped(name)} is of type {kind}, weights are F16, BF16, F32 or "
                        "F64"
                    )
                module, _, key = name.partition(".")
                array = np.ascontiguousarray(file.get_tensor(name))
                array = array.astype(np.float32) if kind == "BF16" else array
                states.setdefault(module, {})[key] = StoredTensor.of(array)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: expected a safetensors file, this is a folder") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except safetensors.SafetensorError as error:
        raise InputError(
            f"{path}: truncated, or no safetensors file ({escaped(str(error))})"
        ) from None
    return states, metadata


def write_safetensors(
    path: str | os.PathLike, tensors: dict[str, Any], metadata: dict[str, str]
) -> None:
    """Write NumPy arrays by name, and strings about them."""
    content = safetensors.numpy.save(tensors, metadata)
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(content)


def as_strings(meta: dict[str, Any], sizes: dict[str, int]) -> dict[str, str]:
    """Return ``meta`` as safetensors wants it, and in plain sight what other programs need."""
    strings = {"format": "pt", "sizes": json.dumps(sizes)} if sizes else {"format": "cddfuse_jax"}
    residual = (meta.get("config") or {}).get("residual")
    if residual:
        strings["residual"] = residual
    for key, value in meta.items():
        strings[key] = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return strings


def meta_of(strings: dict[str, str]) -> dict[str, Any]:
    """Undo `as_strings`; what another program wrote under our names is left out."""
    meta: dict[str, Any] = dict(strings)
    if "residual" in strings:
        meta["config"] = {"residual": strings["residual"]}
    for key in {"config", "own", "code"} & strings.keys():
        try:
            meta[key] = json.loads(strings[key])
        except ValueError:
            meta[key] = None
        if not isinstance(meta[key], dict):
            del meta[key]
    return meta
