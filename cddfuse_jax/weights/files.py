"""Params in files: .safetensors, the release's .pth, and Orbax checkpoints of this package.

A checkpoint is ``DIRECTORY/checkpoints/STEP/{params,meta}``. A training run's hold more, see
`training.checkpoints`; fusing needs ``params`` only.
"""

import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from etils import epath

from cddfuse_jax.errors import InputError
from cddfuse_jax.files import check_local
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.models.options import RESIDUALS, Residual
from cddfuse_jax.weights import safetensors_file, torch_weights
from cddfuse_jax.weights.found import path_of
from cddfuse_jax.weights.torch_names import leaf, name_table, to_torch

CHECKPOINTS = "checkpoints"
SIZES = ("features", "heads", "blocks", "channels", "coupling_layers")


def checkpoint_root(directory: str | os.PathLike) -> epath.Path:
    """Return the folder that holds the checkpoints of a workdir, absolute as Orbax wants it.

    Raises:
        InputError: it is an address.
    """
    check_local(directory)
    return epath.Path(Path(directory).absolute()) / CHECKPOINTS


def saved_steps(directory: str | os.PathLike) -> list[int]:
    """Return the steps, ascending, of the whole checkpoints in a workdir, [] where none is."""
    return _steps(checkpoint_root(directory))


def save_params(target: str | os.PathLike, params: Any, meta: dict[str, Any]) -> None:
    """Write params in the format that the name of ``target`` asks for.

    Args:
        target: a file that ends in .safetensors or .pth (which holds no
            ``meta``), or else a folder, which becomes a checkpoint of step 0.
        params: as `load_params` returns them.
        meta: what `load_meta` shall return: JSON. "config" is that of the training run.

    Raises:
        InputError: the folder already holds a checkpoint.
        WriteError: a checkpoint could not be written; what was begun is removed.
    """
    if Path(target).suffix == safetensors_file.SUFFIX:
        states = torch_weights.state_dicts(params)
        safetensors_file.write_safetensors(target, states, _as_strings(params, meta))
    elif Path(target).suffix == ".pth":
        torch_weights.save(params, target)
    else:
        _save_checkpoint(target, params, meta)


def _save_checkpoint(directory: str | os.PathLike, params: Any, meta: dict[str, Any]) -> None:
    root = checkpoint_root(directory)
    if saved_steps(directory):
        raise InputError(f"{directory}: already holds a checkpoint; name another folder")
    from cddfuse_jax.weights import orbax_trees

    orbax_trees.save(directory, root, params, meta)


def load_params(weights: str | os.PathLike) -> dict[str, Any]:
    """Load the network's params from whatever holds them.

    Args:
        weights: the name of weights that come with the package (a string in `shipped.SHIPPED`), a
            .safetensors file, a .pth file of the release's format, the workdir of a training run
            or a converted checkpoint (the newest step), or one step's folder. Where a run kept
            a running mean of its params (``config.ema``), that is loaded. A file or folder may be
            given by its address in a bucket (`addresses.local`).

    Returns:
        Params for `CDDFuse.from_params`: a tree of float32 NumPy arrays.

    Raises:
        InputError: nothing of that kind there, or a number in it is not finite.
    """
    weights = path_of(weights)
    params = _read_params(weights)
    _check_network(weights, params)
    check_finite(weights, params)
    return params


def _check_network(weights: Path, params: Any) -> None:
    try:
        entries = list(name_table(CDDFuse.from_params(params)))
        fits = len(jax.tree.leaves(params)) == len(entries) and all(
            to_torch(leaf(params, entry.path), entry.layout).shape == entry.shape
            for entry in entries
        )
    except Exception:  # a tree of other names, or of no arrays
        fits = False
    if not fits:
        raise InputError(f"{weights}: not CDDFuse weights, these are of another network")


def check_finite(weights: str | os.PathLike, params: Any) -> None:
    """Check that weights hold numbers only: one that is none makes every fused image black.

    Raises:
        InputError: ``weights``, and which of its tensors hold NaN or infinity.
    """
    bad = [
        "/".join(str(key.key) for key in path)
        for path, leaf in jax.tree.leaves_with_path(params)
        if not np.isfinite(np.asarray(leaf, np.float32)).all()
    ]
    if bad:
        more = ", ..." if len(bad) > 3 else ""
        raise InputError(
            f"{weights}: weights must be finite, NaN or infinity in {len(bad)} tensors "
            f"({', '.join(bad[:3])}{more}); take an earlier checkpoint or the file anew"
        )


def _read_params(weights: Path) -> dict[str, Any]:
    if _is_safetensors(weights):
        states, _ = safetensors_file.read_safetensors(weights)
        return torch_weights.to_params(weights, states)
    if _is_pth(weights):
        return torch_weights.load(weights)
    folder = _step_folder(weights)
    from cddfuse_jax.weights import orbax_trees

    return orbax_trees.read_params(folder)


def load_meta(weights: str | os.PathLike) -> dict[str, Any]:
    """Return what was saved beside the params of `load_params`, {} for a .pth file.

    Raises:
        InputError: there are no weights, or the checkpoint is broken.
    """
    weights = path_of(weights)
    if _is_safetensors(weights):
        return _from_strings(safetensors_file.read_safetensors(weights)[1])
    if _is_pth(weights):
        return {}
    folder = _step_folder(weights)
    from cddfuse_jax.weights import orbax_trees

    return orbax_trees.read_meta(folder)


def trained_residual(weights: str | os.PathLike) -> Residual | None:
    """Return the residual that weights were trained with, None if they do not tell.

    Raises:
        InputError: as `load_meta`.
    """
    meta = load_meta(weights)
    config = meta.get("config") if isinstance(meta, dict) else None
    residual = config.get("residual") if isinstance(config, dict) else None
    return residual if residual in RESIDUALS else None


def _as_strings(params: Any, meta: dict[str, Any]) -> dict[str, str]:
    """Return ``meta`` as safetensors wants it, and in plain sight what other programs need."""
    model = CDDFuse.from_params(params)
    strings = {"format": "pt", "sizes": json.dumps({name: getattr(model, name) for name in SIZES})}
    residual = (meta.get("config") or {}).get("residual")
    if residual:
        strings["residual"] = residual
    for key, value in meta.items():
        strings[key] = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return strings


def _from_strings(strings: dict[str, str]) -> dict[str, Any]:
    meta: dict[str, Any] = dict(strings)
    if "residual" in strings:
        meta["config"] = {"residual": strings["residual"]}
    if "config" in strings:
        try:
            meta["config"] = json.loads(strings["config"])
        except ValueError:  # another program's: what it says is not for us
            del meta["config"]
    return meta


def _is_safetensors(weights: Path) -> bool:
    return weights.suffix == safetensors_file.SUFFIX and not weights.is_dir()


def _is_pth(weights: Path) -> bool:
    return weights.is_file() or weights.suffix == ".pth"


def _steps(root: epath.Path) -> list[int]:
    if not root.is_dir():
        return []
    return sorted(int(folder.name) for folder in root.iterdir() if folder.name.isdecimal())


def _step_folder(directory: str | os.PathLike) -> epath.Path:
    folder = epath.Path(Path(directory).absolute())
    if (folder / "params").is_dir():
        return folder
    for root in (folder / CHECKPOINTS, folder):
        if steps := _steps(root):
            return root / str(steps[-1])
    if not folder.exists():
        raise InputError(f"{directory}: no such file or folder")
    raise InputError(
        f"{directory}: no weights there; give a .safetensors or .pth file, the workdir of a "
        "training run or a folder that convert_torch_weights.py wrote"
    )
