"""What training did to the features of pairs: correlations and stage II's loss, step by step.

    python experiments/follow_training.py WORKDIR --vi DIR --ir DIR --out FILE.json [--steps 0,546]

Step 0 is the network before training, drawn anew from the run's seed. Means over whole images:
``cc_base`` and ``cc_detail`` are the correlations of the two modalities' base and detail features,
which training is to raise and to bring to 0; the others are the parts of stage II's loss.
"""

import json
import statistics
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from cddfuse_jax.console import ArgumentParser, progress, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import replacing
from cddfuse_jax.images import levels
from cddfuse_jax.images.pair_photos import read_pair
from cddfuse_jax.images.pairs import select_pairs
from cddfuse_jax.training.recipe import make_model, make_stages, starting_params
from cddfuse_jax.weights.files import CHECKPOINTS, load_meta, load_params, saved_steps


def main() -> None:
    """Read the arguments, measure, write, and print a line per step."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--vi", required=True, type=Path)
    parser.add_argument("--ir", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--steps", help="default: 0, the end of stage I, and the last")
    given = parser.parse_args()
    meta = load_meta(given.workdir)
    config = ConfigDict(meta["config"])
    saved = saved_steps(given.workdir)
    middle = meta["steps_per_epoch"] * config.reconstruction_epochs
    steps = [int(x) for x in given.steps.split(",")] if given.steps else [0, middle, saved[-1]]
    if missing := [step for step in steps if step not in (0, *saved)]:
        raise InputError(f"{given.workdir}: no checkpoint of steps {missing}, there are {saved}")
    model = make_model(config)
    fusion = make_stages(config, model)[1]
    loss = jax.jit(lambda params, *images: fusion.loss(params, *images)[1])

    def params(step: int):
        if step:
            return load_params(given.workdir / CHECKPOINTS / str(step))
        return jax.jit(lambda: starting_params(config, model))()

    weights = {step: params(step) for step in steps}
    measured: dict[int, list[dict[str, float]]] = {step: [] for step in steps}
    for pair in progress(select_pairs(given.vi, given.ir)[0], "measuring", unit="pair"):
        photos = read_pair(pair)
        visible, infrared = (
            levels.network_input(photo.pixels)[None, :, :, None]
            for photo in (photos.visible, photos.infrared)
        )
        for step in steps:
            parts = jax.device_get(loss(weights[step], visible, infrared))
            measured[step].append({name: float(np.asarray(x)) for name, x in parts.items()})
    means = {
        step: {name: statistics.fmean(each[name] for each in images) for name in images[0]}
        for step, images in measured.items()
    }
    with replacing(given.out) as temporary:
        result = {"pairs": len(measured[steps[0]]), "end of stage I": middle, "means": means}
        temporary.write_text(json.dumps(result, indent=1) + "\n")
    for step, parts in means.items():
        print(step, " ".join(f"{name} {value:.4f}" for name, value in parts.items()))


if __name__ == "__main__":
    run(main)
