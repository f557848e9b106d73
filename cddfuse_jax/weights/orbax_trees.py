"""Params and meta in one step's folder of an Orbax checkpoint.

Not in `any_format`, which imports this for checkpoints alone: Orbax takes long to import.
"""

from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from cddfuse_jax.errors import InputError, one_line


def read_params(folder: epath.Path) -> dict[str, Any]:
    """Return a step's params as NumPy arrays; of a run that keeps their running mean, that."""
    # A run that keeps a running mean of its params trains for that mean.
    tree = folder / ("ema" if (folder / "ema").is_dir() else "params")
    handler = ocp.PyTreeCheckpointHandler()
    try:
        metadata = handler.metadata(tree)
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), metadata.tree)
        return handler.restore(tree, args=ocp.args.PyTreeRestore(restore_args=as_numpy))
    except Exception as error:  # what a damaged file raises depends on the byte that is damaged
        raise InputError(f"{folder}: broken checkpoint ({one_line(error)})") from None


def read_meta(folder: epath.Path) -> dict[str, Any]:
    """Return what was saved with a step's params."""
    try:
        meta = ocp.JsonCheckpointHandler().restore(folder / "meta")
        if not isinstance(meta, dict) or not isinstance(meta.get("config") or {}, dict):
            raise ValueError("its meta is no table")
        return meta
    except Exception as error:  # as above
        raise InputError(f"{folder}: broken checkpoint ({one_line(error)})") from None
