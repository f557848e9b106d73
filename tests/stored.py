"""Pairs and weights on disk as the package reads them or refuses to, and how two are compared."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import orbax.checkpoint as ocp
import pytest
from PIL import Image

from cddfuse_jax.data.sources import FolderPairs
from cddfuse_jax.errors import InputError


def write_pairs(root, sizes, suffix=".png"):
    for folder in ("ir", "vi"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, (height, width) in enumerate(sizes):
        grey = np.full((height, width), 51 * number, np.uint8)
        Image.fromarray(grey).save(root / "ir" / f"{number}.png")
        colour = np.zeros((height, width, 3), np.uint8)
        colour[..., number % 3] = 255
        Image.fromarray(colour).save(root / "vi" / f"{number}{suffix}")
    return FolderPairs, root / "vi", root / "ir"


def write_patches(path, count=12, shape=(1, 8, 8), dtype=np.float32):
    with h5py.File(path, "w") as file:
        for offset, group in enumerate(("ir_patchs", "vis_patchs")):
            for number in range(count):
                value = np.full(shape, number / 100 + offset / 2, dtype)
                file.create_dataset(f"{group}/{number}", data=value)
    return path


def assert_equal(first, second):
    assert first.keys() == second.keys() == {"visible", "infrared"}
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def write_checkpoint(workdir: Path, params, meta: dict) -> Path:
    """Write a checkpoint of step 0 as a training run does; return the workdir."""
    with ocp.CheckpointManager(workdir.absolute() / "checkpoints") as manager:
        args = ocp.args.Composite(
            params=ocp.args.StandardSave(params), meta=ocp.args.JsonSave(meta)
        )
        manager.save(0, args=args)
    return workdir


def refusal(read: Callable, path: Path) -> str:
    """Return the one line by which ``read`` refuses a file, without its path."""
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")
