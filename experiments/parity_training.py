"""Features after updates of stage II, by the port and by a checkout of the release.

Five runs from the same weights, each on crops of another pair. The release's modules and losses are
its own, in float32 and in float64, which is the truth; its update is written here as its train.py
describes it: Adam of rate 1e-4 for each of four modules, each one's gradient clipped to 0.01.
"""

import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import torch

from cddfuse_jax.models.cddfuse import MODULES
from cddfuse_jax.release.checkout import load_release
from cddfuse_jax.release.comparison import Errors, compare
from cddfuse_jax.release.features import run_port, run_release
from cddfuse_jax.training.losses import fusion_loss
from cddfuse_jax.training.optimizers import adam, learning_rate
from cddfuse_jax.training.update import Stage, init_state, update

UPDATES = 1, 10, 100
CROP = 24
SHOWN = 64, 96  # height and width of the crop whose features are compared
OPTIMIZERS = dict.fromkeys(MODULES, adam(learning_rate(steps_per_epoch=UPDATES[-1])))
STAGE = Stage("fusion", fusion_loss, MODULES)
STEP = jax.jit(functools.partial(update, stage=STAGE, optimizers=OPTIMIZERS))
Pair = tuple[np.ndarray, np.ndarray]  # (h, w) in [0, 1]


def crop(rng: np.random.Generator, pair: Pair, height: int, width: int) -> Pair:
    """Cut both images at one random place."""
    top, left = rng.integers(0, np.subtract(pair[0].shape, (height, width)) + 1)
    visible, infrared = (x[top : top + height, left : left + width] for x in pair)
    return visible, infrared


def release_losses(folder: str):
    """Return the release's fusion loss, which it puts on a GPU as it is made, and correlation."""
    spec = importlib.util.spec_from_file_location("release_loss", Path(folder, "utils", "loss.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    to_gpu, torch.Tensor.cuda = torch.Tensor.cuda, lambda tensor: tensor
    try:
        return module.Fusionloss(), module.cc
    finally:
        torch.Tensor.cuda = to_gpu


def release_updates(folder: str, params, batches: list[Pair], dtype: str) -> Iterator[dict]:
    """Train the release's modules, and yield them after each update."""
    modules, (loss, cc) = load_release(folder, params), release_losses(folder)
    for module in (*modules.values(), loss):
        module.to(getattr(torch, dtype))
    encoder, decoder, base_fusion, detail_fusion = modules.values()
    optimizers = [torch.optim.Adam(module.parameters(), lr=1e-4) for module in modules.values()]
    for pair in batches:
        visible, infrared = (torch.tensor(np.array(x, dtype))[None, None] for x in pair)
        (base_v, detail_v, _), (base_i, detail_i, _) = encoder(visible), encoder(infrared)
        fused = base_fusion(base_i + base_v), detail_fusion(detail_i + detail_v)
        total = loss(visible, infrared, decoder(visible, *fused)[0])[0]
        total = total + 2 * cc(detail_v, detail_i) ** 2 / (1.01 + cc(base_v, base_i))
        for module in modules.values():
            module.zero_grad()
        total.backward()
        for module, optimizer in zip(modules.values(), optimizers, strict=True):
            torch.nn.utils.clip_grad_norm_(module.parameters(), 0.01)
            optimizer.step()
        yield modules


def port_updates(params, batches: list[Pair]) -> Iterator[dict]:
    """Train the port, and yield its params after each update."""
    state = init_state(params, OPTIMIZERS)
    for pair in batches:
        state, _ = STEP(state, *(x[None, ..., None] for x in pair))
        yield state.params


def measure(folder: str, params, pairs: dict[str, Pair]) -> dict[int, list[Errors]]:
    """Return the errors after each of `UPDATES`, one run on each pair."""
    found: dict[int, list[Errors]] = {count: [] for count in UPDATES}
    for seed, (name, pair) in enumerate(pairs.items()):
        rng = np.random.default_rng(seed)
        shown = crop(rng, pair, *SHOWN)
        batches = [crop(rng, pair, CROP, CROP) for _ in range(UPDATES[-1])]
        runs = zip(
            port_updates(params, batches),
            release_updates(folder, params, batches, "float32"),
            release_updates(folder, params, batches, "float64"),
            strict=True,
        )
        for count, (trained, release32, truth) in enumerate(runs, 1):
            if count in UPDATES:
                found[count] += compare(
                    name,
                    run_port(trained, *shown),
                    run_release(release32, *shown, "float32"),
                    run_release(truth, *shown, "float64"),
                )
    return found
