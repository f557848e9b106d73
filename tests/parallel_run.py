"""A script of test_parallel.py: 6 updates of each stage, shared out in the ways asked for.

    parallel_run.py OUT STAGE[,STAGE] COUNT:MAP:ACCUMULATE ... [--coordinator HOST:PORT ...]

In float64, where a share left out shows and rounding does not. COUNT 0 is the update as it is,
neither mapped nor accumulated: what all others must equal. Writes losses and parameters to OUT, an
.npz file; of several processes each prefixes its name with its number, as 0_OUT.
"""

import argparse
import functools
import json
import math
import sys
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from cddfuse_jax import config as configs
from cddfuse_jax.data.pipeline import batches, open_sources
from cddfuse_jax.models.cddfuse import MODULES
from cddfuse_jax.training.distributed import Address, joined
from cddfuse_jax.training.optimizers import adam, learning_rate
from cddfuse_jax.training.parallel import Devices
from cddfuse_jax.training.recipe import make_model, make_stages
from cddfuse_jax.training.update import init_params, init_state, update

jax.config.update("jax_enable_x64", True)
BATCH, STEPS = 8, 6  # updates of each stage


def make_config():
    config = configs.release()
    config.model = {
        "features": 8, "heads": 2, "blocks": 1, "coupling_layers": 1, "remat": False
    }  # fmt: skip
    config.data.source = "synthetic"
    config.data.count = 16
    config.data.height = config.data.width = 20
    config.data.crop = 16
    return config


@functools.cache  # compiled once for all ways
def initial_state(config: str):
    config = ConfigDict(json.loads(config))
    optimizers = dict.fromkeys(MODULES, adam(learning_rate(1), config.clip_norm))
    shapes = jax.eval_shape(lambda: init_params(make_model(config), jax.random.key(0)))
    rng = np.random.default_rng(0)

    def draw(leaf):
        spread = 0.1 if leaf.ndim == 1 else math.prod(leaf.shape[:-1]) ** -0.5
        return (leaf.ndim == 1) + spread * rng.standard_normal(leaf.shape)

    params = jax.tree.map(draw, shapes)
    return jax.device_get(init_state(params, optimizers))


def pair(batch) -> list[np.ndarray]:
    return [np.float64(batch[side]) for side in ("visible", "infrared")]


def run(config, stages: str, way: str) -> dict[str, np.ndarray]:
    count, how, accumulate = (int(x) if x.isdecimal() else x for x in way.split(":"))
    model = make_model(config)
    schedule = learning_rate(STEPS // 2, initial=1e-3, decay_epochs=1)
    optimizers = dict.fromkeys(MODULES, adam(schedule, config.clip_norm))
    chosen = jax.devices()[: count or 1]
    devices = Devices(how, BATCH, accumulate, chosen)
    share = (jax.process_index(), jax.process_count())
    dataset = batches(open_sources(config.data)[0], batch_size=BATCH, seed=3, crop=16, share=share)
    state = jax.device_put(initial_state(config.to_json()), devices.replicated)
    losses, result = [], {}
    for stage in (each for each in make_stages(config, model) if each.name in stages):
        bound = functools.partial(update, stage=stage, optimizers=optimizers, accumulate=accumulate)
        mapped = jax.jit(bound)
        images = pair(dataset[0])
        if count:
            mapped = devices.compiled(bound, state, *images)
        for _ in range(STEPS):
            state, metrics = mapped(state, *pair(dataset[int(state.step)]))
            losses.append(float(metrics["total"]))
    result["losses"] = np.asarray(losses)
    for path, leaf in jax.tree.leaves_with_path(state.params):
        result["params" + jax.tree_util.keystr(path)] = np.asarray(leaf)
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("stages")
    parser.add_argument("ways", nargs="+")
    parser.add_argument("--coordinator")
    parser.add_argument("--num_processes", type=int)
    parser.add_argument("--process_id", type=int)
    given = parser.parse_args()
    out = given.out
    if given.num_processes:
        out = out.with_name(f"{given.process_id}_{out.name}")
    address = Address(given.coordinator, given.num_processes, given.process_id)
    with joined(address, ""):
        found = {}
        for way in given.ways:
            result = run(make_config(), given.stages, way)
            found |= {f"{way}/{name}": value for name, value in result.items()}
            print(way, "done", flush=True)
        np.savez(out, **found)


if __name__ == "__main__":
    sys.exit(main())
