"""Features after updates of either stage, by the port and by a checkout of the release.

Five runs from the same weights, each on crops of another pair. The release's modules, losses and
version of kornia are its own, in float32 and in float64, which is the truth; its update is written
here as its train.py describes it: Adam of rate 1e-4 for each module that the stage trains, each
one's gradient clipped to 0.01. Needs `pip install --no-deps kornia==0.2.0`.
"""

import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import torch

from cddfuse_jax.models.cddfuse import MODULES
from cddfuse_jax.release.checkout import load_release
from cddfuse_jax.release.comparison import Errors, compare
from cddfuse_jax.release.features import run_port, run_release
from cddfuse_jax.training.losses import fusion_loss, reconstruction_loss
from cddfuse_jax.training.optimizers import adam, learning_rate
from cddfuse_jax.training.update import Stage, init_state, update

UPDATES = 1, 10, 100
CROP = 24
SHOWN = 64, 96  # height and width of the crop whose features are compared
OPTIMIZERS = dict.fromkeys(MODULES, adam(learning_rate(steps_per_epoch=UPDATES[-1])))
STAGES = {
    "reconstruction": Stage("reconstruction", reconstruction_loss, ("encoder", "decoder")),
    "fusion": Stage("fusion", fusion_loss, MODULES),
}
STEPS = {
    name: jax.jit(functools.partial(update, stage=stage, optimizers=OPTIMIZERS))
    for name, stage in STAGES.items()
}
Pair = tuple[np.ndarray, np.ndarray]  # (h, w) in [0, 1]


def crop(rng: np.random.Generator, pair: Pair, height: int, width: int) -> Pair:
    """Cut both images at one random place."""
    top, left = rng.integers(0, np.subtract(pair[0].shape, (height, width)) + 1)
    visible, infrared = (x[top : top + height, left : left + width] for x in pair)
    return visible, infrared


def release_losses(folder: str, dtype: torch.dtype) -> dict[str, Callable]:
    """Return the loss of each stage, of the release's modules and both images.

    Its fusion loss puts itself on a GPU as it is made. kornia 0.2.0's own ``__init__`` cannot be
    parsed by Python 3.11; what the losses need can.
    """
    spec = importlib.util.spec_from_file_location("release_loss", Path(folder, "utils", "loss.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    to_gpu, torch.Tensor.cuda = torch.Tensor.cuda, lambda tensor: tensor
    try:
        of_fusion = module.Fusionloss().to(dtype)
    finally:
        torch.Tensor.cuda = to_gpu
    if "kornia" not in sys.modules:
        found = importlib.util.find_spec("kornia")
        sys.modules["kornia"] = importlib.util.module_from_spec(found)
        importlib.import_module("kornia.geometry")  # before those that import it in a circle
    ssim = importlib.import_module("kornia.losses").SSIM(11, reduction="mean").to(dtype)
    edges = importlib.import_module("kornia.filters").SpatialGradient().to(dtype)
    mse, l1 = torch.nn.MSELoss(), torch.nn.L1Loss()

    def decomposition(base_v, detail_v, base_i, detail_i):
        return module.cc(detail_v, detail_i) ** 2 / (1.01 + module.cc(base_v, base_i))

    def reconstruction(modules, visible, infrared):
        encode, decode, *_ = modules.values()
        features = encode(visible)[:2], encode(infrared)[:2]
        total = 2 * decomposition(*features[0], *features[1])
        restored = [decode(x, *of)[0] for x, of in zip((visible, infrared), features, strict=True)]
        for image, again in zip((visible, infrared), restored, strict=True):
            total = total + 5 * ssim(image, again) + mse(image, again)
        return total + 5 * l1(edges(visible), edges(restored[0]))

    def fusion(modules, visible, infrared):
        encode, decode, fuse_base, fuse_detail = modules.values()
        (base_v, detail_v, _), (base_i, detail_i, _) = encode(visible), encode(infrared)
        fused = fuse_base(base_i + base_v), fuse_detail(detail_i + detail_v)
        total = of_fusion(visible, infrared, decode(visible, *fused)[0])[0]
        return total + 2 * decomposition(base_v, detail_v, base_i, detail_i)

    return {"reconstruction": reconstruction, "fusion": fusion}


def release_updates(
    folder: str, stage: str, params, batches: list[Pair], name: str
) -> Iterator[dict]:
    """Train the release's modules in a dtype, and yield them after each update."""
    dtype: torch.dtype = getattr(torch, name)
    modules, loss = load_release(folder, params), release_losses(folder, dtype)[stage]
    trained = list(modules.values())[: len(STAGES[stage].modules)]
    for module in modules.values():
        module.to(dtype)
    optimizers = [torch.optim.Adam(module.parameters(), lr=1e-4) for module in trained]
    for pair in batches:
        visible, infrared = (torch.tensor(np.array(x, name))[None, None] for x in pair)
        for module in modules.values():
            module.zero_grad()
        loss(modules, visible, infrared).backward()
        for module, optimizer in zip(trained, optimizers, strict=True):
            torch.nn.utils.clip_grad_norm_(module.parameters(), 0.01)
            optimizer.step()
        yield modules


def port_updates(stage: str, params, batches: list[Pair]) -> Iterator[dict]:
    """Train the port, and yield its params after each update."""
    state = init_state(params, OPTIMIZERS)
    for pair in batches:
        state, _ = STEPS[stage](state, *(x[None, ..., None] for x in pair))
        yield state.params


def measure(folder: str, stage: str, params, pairs: dict[str, Pair]) -> dict[int, list[Errors]]:
    """Return the errors after each of `UPDATES` of a stage, one run on each pair."""
    found: dict[int, list[Errors]] = {count: [] for count in UPDATES}
    for seed, (name, pair) in enumerate(pairs.items()):
        rng = np.random.default_rng(seed)
        shown = crop(rng, pair, *SHOWN)
        batches = [crop(rng, pair, CROP, CROP) for _ in range(UPDATES[-1])]
        runs = zip(
            port_updates(stage, params, batches),
            release_updates(folder, stage, params, batches, "float32"),
            release_updates(folder, stage, params, batches, "float64"),
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
