"""Params in files: Orbax checkpoints in ``DIRECTORY/checkpoints/STEP/{params,meta}``, and .pth.

A training run's checkpoints hold more, see `training.checkpoints`; fusing needs ``params`` only.
"""

import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from cddfuse_jax.errors import InputError
from cddfuse_jax.weights import torch_names

FOLDER = "checkpoints"


def checkpoint_root(directory: str | os.PathLike) -> epath.Path:
    """Return the folder that holds the checkpoints of a workdir, absolute as Orbax wants it."""
    return epath.Path(Path(directory).absolute()) / FOLDER


def saved_steps(directory: str | os.PathLike) -> list[int]:
    """Return the steps, ascending, of the whole checkpoints in a workdir, [] where none is."""
    return _steps(checkpoint_root(directory))


def one_line(error: Exception) -> str:
    """Return what a library's error says, in one line of at most 300 characters."""
    return " ".join(str(error).split())[:300]


def save_params(directory: str | os.PathLike, params: Any, meta: dict[str, Any]) -> None:
    """Write params alone as the checkpoint of step 0 in ``directory``.

    Raises:
        InputError: the folder already holds a checkpoint, or cannot be written.
    """
    root = checkpoint_root(directory)
    if saved_steps(directory):
        raise InputError(f"{directory}: already holds a checkpoint; name another folder")
    try:
        with ocp.CheckpointManager(root) as manager:
            manager.save(
                0,
                args=ocp.args.Composite(
                    params=ocp.args.StandardSave(params), meta=ocp.args.JsonSave(meta)
                ),
            )
    except OSError as error:
        raise InputError(f"cannot write {root}: {error.strerror or error}") from None


def load_params(weights: str | os.PathLike) -> dict[str, Any]:
    """Load the network's params from whatever holds them.

    Args:
        weights: a .pth file of the release's format, the workdir of a training run or a converted
            checkpoint (the newest step), or one step's folder. Where a run kept a running mean of
            its params (``config.ema``), that is loaded.

    Returns:
        Params for `CDDFuse.from_params`: a tree of float32 NumPy arrays.

    Raises:
        InputError: nothing of that kind there.
    """
    if _is_pth(weights):
        return torch_names.load(weights)
    folder = _step_folder(weights)
    # A run that keeps a running mean of its params trains for that mean.
    tree = folder / ("ema" if (folder / "ema").is_dir() else "params")
    handler = ocp.PyTreeCheckpointHandler()
    try:
        metadata = handler.metadata(tree)
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), metadata.tree)
        return handler.restore(tree, args=ocp.args.PyTreeRestore(restore_args=as_numpy))
    except Exception as error:  # what a damaged file raises depends on the byte that is damaged
        raise InputError(f"{folder}: broken checkpoint ({one_line(error)})") from None


def load_meta(weights: str | os.PathLike) -> dict[str, Any]:
    """Return what was saved beside the params of `load_params`, {} for a .pth file.

    Raises:
        InputError: there are no weights, or the checkpoint is broken.
    """
    if _is_pth(weights):
        return {}
    folder = _step_folder(weights)
    try:
        return ocp.JsonCheckpointHandler().restore(folder / "meta")
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: broken checkpoint ({one_line(error)})") from None


def _is_pth(weights: str | os.PathLike) -> bool:
    return Path(weights).is_file() or Path(weights).suffix == ".pth"


def _steps(root: epath.Path) -> list[int]:
    if not root.is_dir():
        return []
    return sorted(int(folder.name) for folder in root.iterdir() if folder.name.isdecimal())


def _step_folder(directory: str | os.PathLike) -> epath.Path:
    folder = epath.Path(Path(directory).absolute())
    if (folder / "params").is_dir():
        return folder
    for root in (folder / FOLDER, folder):
        if steps := _steps(root):
            return root / str(steps[-1])
    if not folder.exists():
        raise InputError(f"{directory}: no such file or folder")
    raise InputError(
        f"{directory}: no weights there; give a .pth file, the workdir of a training run or a "
        "folder that convert_torch_weights.py wrote"
    )
