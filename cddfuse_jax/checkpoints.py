"""Orbax checkpoints: ``WORKDIR/checkpoints/STEP/{params,optimizer,meta}``.

``params`` is all that fusing needs, so a converted checkpoint holds just that and ``meta``.
"""

import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from cddfuse_jax import torch_weights
from cddfuse_jax.commands import InputError
from cddfuse_jax.train_step import TrainState

FOLDER = "checkpoints"


class Checkpoints:
    """The checkpoints of one run; the newest ``keep`` are kept."""

    def __init__(self, workdir: str | os.PathLike, keep: int = 3):
        # Not asynchronous: the next update overwrites the donated buffers that a save reads.
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
        root = epath.Path(Path(workdir).absolute()) / FOLDER
        try:
            self._manager = ocp.CheckpointManager(root, options=options)
        except OSError as error:
            raise InputError(f"cannot write {root}: {error.strerror or error}") from None

    def latest_step(self) -> int | None:
        """Return the step of the newest whole checkpoint."""
        return self._manager.latest_step()

    def save(self, state: TrainState, meta: dict[str, Any]) -> None:
        """Write the state under its step, with ``meta`` as JSON beside it."""
        step = int(state.step)
        if step == self.latest_step():
            return
        optimizer = {"step": state.step, "opt_state": state.opt_state}
        self._manager.save(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(state.params),
                optimizer=ocp.args.StandardSave(optimizer),
                meta=ocp.args.JsonSave(meta),
            ),
        )

    def meta(self, step: int) -> dict[str, Any]:
        """Return what was saved as ``meta`` with a step."""
        return self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))[
            "meta"
        ]

    def restore(self, step: int, like: TrainState) -> TrainState:
        """Return the state of a step; ``like`` has its shapes, and the shardings it is to have."""
        optimizer = {"step": like.step, "opt_state": like.opt_state}
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardRestore(like.params),
                optimizer=ocp.args.StandardRestore(optimizer),
            ),
        )
        return TrainState(params=restored["params"], **restored["optimizer"])

    def close(self) -> None:
        """Let go of the folder."""
        self._manager.close()


def save_params(directory: str | os.PathLike, params: Any, meta: dict[str, Any]) -> None:
    """Write params alone as the checkpoint of step 0 in ``directory``.

    Raises:
        InputError: the folder already holds a checkpoint, or cannot be written.
    """
    root = epath.Path(Path(directory).absolute()) / FOLDER
    if _steps(root):
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
            checkpoint (the newest step), or one step's folder.

    Returns:
        Params for `CDDFuse.from_params`: a tree of float32 NumPy arrays.

    Raises:
        InputError: nothing of that kind there.
    """
    if _is_pth(weights):
        return torch_weights.load(weights)
    folder = _step_folder(weights)
    handler = ocp.PyTreeCheckpointHandler()
    try:
        metadata = handler.metadata(folder / "params")
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), metadata.tree)
        return handler.restore(
            folder / "params", args=ocp.args.PyTreeRestore(restore_args=as_numpy)
        )
    except Exception as error:  # what a damaged file raises depends on the byte that is damaged
        raise InputError(f"{folder}: broken checkpoint ({_one_line(error)})") from None


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
        raise InputError(f"{folder}: broken checkpoint ({_one_line(error)})") from None


def _is_pth(weights: str | os.PathLike) -> bool:
    return Path(weights).is_file() or Path(weights).suffix == ".pth"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


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
