"""Which recipe takes random weights furthest in equal CPU-minutes: a table of held-out losses.

    python experiments/recipe_search.py --visible A,B --infrared A,B --held_out NAMES.txt \
        --minutes 10 --work DIR --out recipes.json [RECIPE ...]

Every recipe changes `BASE` in one thing. How many updates its minutes buy is measured first, one
update of its windows on its own. Recipes that OUT has already are left out; DIR takes the runs.
With --small the network is that of the weights `small`, which a minute takes six times as far.
"""

import argparse
import functools
import json
import math
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from cddfuse_jax import config as configs
from cddfuse_jax import devices
from cddfuse_jax.data.pipeline import make_sources
from cddfuse_jax.files import replacing
from cddfuse_jax.training import recipe as recipes
from cddfuse_jax.training.run import train_and_evaluate
from cddfuse_jax.training.scalars import read_scalars
from cddfuse_jax.training.update import init_state, update

Fields = dict[str, Any]
BASE: Fields = {
    "batch_size": 1, "data.crop": 128, "data.flip": True, "clip_norm": 0.01, "ema": 0.98,
    "learning_rate.schedule": "cosine", "learning_rate.initial": 2e-3,
    "reconstruction": 0.0,  # share of the updates that are stage I
    "optimizer": "adam",
}  # fmt: skip
WARMUP = 0.05  # of the updates
_costs: dict[str, float] = {}  # CPU seconds of an update, by its size
SMALL = {"features": 16, "heads": 4, "blocks": 2, "coupling_layers": 1}
SMALLEST: Fields = {"data.crop": 32, "clip_norm": 1.0, "learning_rate.initial": 4e-3}
RECIPES: dict[str, list[tuple[float, Fields]]] = {  # legs: share of the minutes, what differs
    "base": [(1, {})],
    "rate 1e-3": [(1, {"learning_rate.initial": 1e-3})],
    "rate 4e-3": [(1, {"learning_rate.initial": 4e-3})],
    "rate 8e-3": [(1, {"learning_rate.initial": 8e-3})],
    "windows 64, batch 2": [(1, {"data.crop": 64, "batch_size": 2})],
    "windows 64, batch 4": [(1, {"data.crop": 64, "batch_size": 4})],
    "windows 192": [(1, {"data.crop": 192})],
    "windows 64, then 128": [
        (0.5, {"data.crop": 64, "batch_size": 2}), (0.5, {"learning_rate.initial": 1e-3})
    ],
    "windows 64, batch 2, clip 1, rate 4e-3": [
        (1, {"data.crop": 64, "batch_size": 2, "clip_norm": 1.0, "learning_rate.initial": 4e-3})
    ],
    "windows 64, batch 1, clip 1, rate 4e-3": [
        (1, {"data.crop": 64, "clip_norm": 1.0, "learning_rate.initial": 4e-3})
    ],
    "windows 64, batch 1, clip 1": [(1, {"data.crop": 64, "clip_norm": 1.0})],
    "windows 64, batch 1, rate 1e-3": [(1, {"data.crop": 64, "learning_rate.initial": 1e-3})],
    "windows 48, batch 1, clip 1": [(1, {"data.crop": 48, "clip_norm": 1.0})],
    "windows 32, batch 1, clip 1, rate 4e-3": [(1, SMALLEST)],
    "windows 32, batch 4, clip 1, rate 4e-3": [(1, SMALLEST | {"batch_size": 4})],
    "windows 32, muon": [(1, SMALLEST | {"optimizer": "muon"})],
    "windows 32, no EMA": [(1, SMALLEST | {"ema": 0.0})],
    "windows 32, constant rate": [(1, SMALLEST | {"learning_rate.schedule": "constant"})],
    "windows 32, other cameras": [
        (1, SMALLEST | {"data.cameras.gamma": 0.3, "data.cameras.contrast": 0.3,
                        "data.cameras.noise": 0.02})
    ],
    "windows 48, batch 1, clip 1, rate 4e-3": [
        (1, {"data.crop": 48, "clip_norm": 1.0, "learning_rate.initial": 4e-3})
    ],
    "two at a constant rate, then 128": [
        (0.5, {"data.crop": 64, "batch_size": 2, "clip_norm": 1.0, "learning_rate.initial": 4e-3,
               "learning_rate.schedule": "constant"}),
        (0.5, {"clip_norm": 1.0, "learning_rate.initial": 4e-3}),
    ],
    "stage I first, a quarter": [(1, {"reconstruction": 0.25})],
    "clip 1": [(1, {"clip_norm": 1.0})],
    "constant rate": [(1, {"learning_rate.schedule": "constant"})],
    "no EMA": [(1, {"ema": 0.0})],
    "other cameras": [
        (1, {"data.cameras.gamma": 0.3, "data.cameras.contrast": 0.3, "data.cameras.noise": 0.02})
    ],
    "muon": [(1, {"optimizer": "muon"})],
    "the release's": [
        (1, {"batch_size": 8, "reconstruction": 1 / 3, "ema": 0.0,
             "learning_rate.schedule": "staircase", "learning_rate.initial": 1e-4})
    ],
}  # fmt: skip


def config_of(fields: Fields, given: argparse.Namespace) -> ConfigDict:
    """Return a run's config; how long it is comes later."""
    config = configs.release()
    config.data.source = "folders"
    config.data.visible, config.data.infrared = given.visible, given.infrared
    if given.small:
        config.model.update(SMALL)
    config.held_out.names, config.held_out.count = str(given.held_out), 39
    config.held_out.every = config.picture_every = config.checkpoint_every = 10**6
    config.update_from_flattened_dict(
        {name: value for name, value in fields.items() if name != "reconstruction"}
    )
    return config


def cpu_seconds(config: ConfigDict, stage: int) -> float:
    """Return the CPU time of one update, the least of four.

    Measured once for each size, whatever the optimiser: on a machine that others use it is another
    each time, and recipes of one size must get as many updates.
    """
    size = json.dumps([config.batch_size, config.data.crop, stage])
    if size not in _costs:
        _costs[size] = _measured_cpu_seconds(config, stage)
    return _costs[size]


def _measured_cpu_seconds(config: ConfigDict, stage: int) -> float:
    model = recipes.make_model(config)
    optimizers = recipes.make_optimizers(config, steps_per_epoch=100)
    state = jax.jit(lambda: init_state(recipes.starting_params(config, model), optimizers))()
    shape = (2, config.batch_size, config.data.crop, config.data.crop, 1)
    visible, infrared = jax.random.uniform(jax.random.key(1), shape)
    stages = recipes.make_stages(config, model)
    step = jax.jit(functools.partial(update, stage=stages[stage], optimizers=optimizers))
    times = []
    for _ in range(5):
        clock = time.process_time()
        state, _metrics = jax.block_until_ready(step(state, visible, infrared))
        times.append(time.process_time() - clock)
    return min(times[1:])


def run_leg(fields: Fields, minutes: float, start: str, work: Path, given) -> tuple[int, Path]:
    """Train one leg in an environment of its own; return its updates and its folder."""
    config = config_of(fields, given)
    config.init_from = start
    first = fields["reconstruction"]
    cost = cpu_seconds(config, 1) if first < 1 else 0.0
    if first:
        cost = first * cpu_seconds(config, 0) + (1 - first) * cost
    updates = max(int(60 * minutes / cost), 3)
    # An epoch of as few pairs as give so many updates, of each set as many as it has a share.
    source, _held_out = make_sources(config)
    names = sorted(set(source.names()))
    epochs = (
        3
        if first == 1 / 3
        else 4
        if first
        else math.ceil(updates / (len(names) // config.batch_size))
    )
    per_epoch = updates // epochs
    chosen = np.linspace(0, len(names) - 1, per_epoch * config.batch_size).astype(int)
    work.mkdir(parents=True, exist_ok=True)
    (work / "names.txt").write_text("\n".join(names[i] for i in sorted(set(chosen))))
    config.data.names = str(work / "names.txt")
    config.reconstruction_epochs = round(first * epochs)
    config.fusion_epochs = epochs - config.reconstruction_epochs
    config.learning_rate.warmup = int(WARMUP * per_epoch * config.fusion_epochs)
    config.learning_rate.floor = 0.01 * config.learning_rate.initial
    state = train_and_evaluate(config, work)
    return int(state.step), work


def run_recipe(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """Train by a recipe; return its updates and the loss on the held-out pairs."""
    start, updates, work = "", [], given.work
    for number, (share, changed) in enumerate(RECIPES[name]):
        fields = BASE | changed
        work = given.work / f"{name.replace(' ', '_').replace(',', '')}_{number}"
        made, work = run_leg(fields, given.minutes * share, start, work, given)
        updates.append(made)
        start = str(work)
    losses = read_scalars(work)
    return {
        "updates": updates,
        **{
            part: losses[f"held_out/fusion/{part}"][updates[-1]]
            for part in ("total", "intensity", "gradient")
        },
    }


def main() -> None:
    """Run the recipes that are asked for and not there yet; keep each as soon as it is done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for option in ("visible", "infrared"):
        parser.add_argument(f"--{option}", required=True)
    for option in ("held_out", "work", "out"):
        parser.add_argument(f"--{option}", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("names", nargs="*", default=list(RECIPES), metavar="RECIPE")
    given = parser.parse_args()
    devices.keep_compiled()
    found = json.loads(given.out.read_text()) if given.out.exists() else {}
    _costs.update(found.get("seconds", {}))
    for name in given.names:
        if name not in found:
            clock = time.process_time()
            found[name] = run_recipe(name, given)
            found[name]["cpu_minutes"] = round((time.process_time() - clock) / 60, 1)
            with replacing(given.out) as temporary:
                temporary.write_text(
                    json.dumps(
                        {"minutes": given.minutes, "small": given.small}
                        | found
                        | {"seconds": _costs},
                        indent=1,
                    )
                )
            print(name, found[name], flush=True)


if __name__ == "__main__":
    main()
