"""Params and meta in one step's folder of an Orbax checkpoint.

Apart from `weights.files`, which needs this for checkpoints alone: Orbax takes long to import.
"""

import os
import shutil
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from cddfuse_jax.errors import InputError, WriteError, one_line
from cddfuse_jax.weights.late_failures import failing_quietly, reason, silence_late_failures


def save(directory: str | os.PathLike, root: epath.Path, params: Any, meta: dict[str, Any]) -> None:
    """Write a checkpoint of step 0 below ``root``, which is in ``directory``; both are made.

    Raises:
        WriteError: it could not be written; what was begun is removed.
    """
    made = next((path for path in (root.parent, root, root / "0") if not path.exists()), root)
    try:
        with failing_quietly(), ocp.CheckpointManager(root) as manager:
            manager.save(
                0,
                args=ocp.args.Composite(
                    params=ocp.args.StandardSave(params), meta=ocp.args.JsonSave(meta)
                ),
            )
    except Exception as error:  # depends on which of its files could not be written
        shutil.rmtree(made, ignore_errors=True)
        raise WriteError(f"{directory} could not be written: {reason(error)}") from None


def read_params(folder: epath.Path) -> dict[str, Any]:
    """Return a step's params as NumPy arrays; of a run that keeps their running mean, that.

    Raises:
        InputError: the checkpoint is broken.
    """
    # A run that keeps a running mean of its params trains for that mean.
    tree = folder / ("ema" if (folder / "ema").is_dir() else "params")
    silence_late_failures()
    handler = ocp.PyTreeCheckpointHandler()
    try:
        metadata = handler.metadata(tree)
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), metadata.tree)
        return handler.restore(tree, args=ocp.args.PyTreeRestore(restore_args=as_numpy))
    except Exception as error:  # what a damaged file raises depends on the byte that is damaged
        raise InputError(f"{folder}: broken checkpoint ({one_line(error)})") from None


def read_meta(folder: epath.Path) -> dict[str, Any]:
    """Return what was saved beside a step's params.

    Raises:
        InputError: the checkpoint is broken.
    """
    try:
        return ocp.JsonCheckpointHandler().restore(folder / "meta")
    except Exception as error:  # as above
        raise InputError(f"{folder}: broken checkpoint ({one_line(error)})") from None
