"""How base and detail features of the two modalities correlate, by weights and by stage of a run.

    python experiments/base_correlation.py --data DATA --work DIR [--part weights|run]

Of the centre window of 176x176 pixels of every pair in DATA/{TNO,RoadScene,MRI_CT,MRI_PET}: the
weights in the package; then one short run of a small network on DATA/RoadScene_train, after stage I
and after stage II, and a second stage II with `base_term.py` as custom loss. Writes
experiments/results/base_correlation.json.
"""

import argparse
import json
from pathlib import Path

import jax
import numpy as np

from cddfuse_jax import config as configs
from cddfuse_jax.images.image_files import read_grey
from cddfuse_jax.pairs.find import find_pairs
from cddfuse_jax.training.losses import decomposition
from cddfuse_jax.training.run import train_and_evaluate
from cddfuse_jax.weights.any_format import load

HERE = Path(__file__).parent
RESULT = HERE / "results" / "base_correlation.json"
SIDE = 176
SETS = {
    "TNO": ("vi", "ir"),
    "RoadScene": ("vi", "ir"),
    "MRI_CT": ("MRI", "CT"),
    "MRI_PET": ("MRI", "PET"),
}
OF = {"ivf": ("TNO", "RoadScene"), "small": ("TNO", "RoadScene"), "mif": ("MRI_CT", "MRI_PET")}
RUN = {
    "seed": 0,
    "reconstruction_epochs": 1,
    "fusion_epochs": 1,
    "batch_size": 1,
    "optimizer": "muon",
    "clip_norm": 1.0,
    "learning_rate.schedule": "cosine",
    "learning_rate.initial": 2e-3,
    "learning_rate.floor": 2e-4,
    "model.features": 16,
    "model.heads": 4,
    "model.blocks": 2,
    "model.coupling_layers": 1,
    "data.source": "folders",
    "data.crop": 32,
    "data.flip": True,
    "data.crops_per_pair": 2,
}


def windows(folder: Path, sides: tuple[str, str]):
    """Yield the centre windows, (2, SIDE, SIDE, 1) in [0, 1], of the pairs of a test set."""
    for pair in find_pairs(*(folder / side for side in sides)).pairs:
        grey = np.float32([read_grey(file) for file in pair[1:]]) / 255
        top, left = ((side - SIDE) // 2 for side in grey.shape[1:])
        yield grey[:, top : top + SIDE, left : left + SIDE, None]


def measured(weights, data: Path, sets) -> dict:
    """Return means over the pairs of each set of cc_base, cc_detail and their ratio."""
    model, params, _ = load(weights)

    @jax.jit
    def parts(params, pair):
        base, detail, _ = model.apply({"params": params}, pair, method="encode")
        return decomposition(base, detail)

    found = {}
    for name in sets:
        each = [
            {key: float(value) for key, value in parts(params, pair).items()}
            for pair in windows(data / name, SETS[name])
        ]
        found[name] = {key: float(np.mean([x[key] for x in each])) for key in each[0]}
        found[name]["cc_base_deviation"] = float(np.std([x["cc_base"] for x in each]))
        found[name]["pairs"] = len(each)
        print(weights, name, found[name], flush=True)
    return found


def trained(data: Path, work: Path) -> dict:
    """Train both stages, and a second stage II with the base term; return what they correlate."""
    config = configs.release()
    config.update_from_flattened_dict(RUN)
    config.data.visible, config.data.infrared = (
        str(data / "RoadScene_train" / side) for side in ("vi", "ir")
    )
    state = train_and_evaluate(config, work / "plain")
    middle = work / "plain" / "checkpoints" / str(int(state.step) // 2)
    config.init_from, config.reconstruction_epochs = str(middle), 0
    config.loss.own = f"{HERE / 'base_term.py'}:terms"
    train_and_evaluate(config, work / "own")
    runs = {"stage I": middle, "stage II": work / "plain", "stage II, base term": work / "own"}
    found = {name: measured(run, data, OF["ivf"]) for name, run in runs.items()}
    return {"updates of each stage": int(state.step) // 2, "config": RUN, "rows": found}


def main() -> None:
    """Measure, and write what was measured into the kept result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="takes the runs")
    parser.add_argument("--part", choices=("weights", "run"), help="default: both")
    given = parser.parse_args()
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    kept["window"] = SIDE
    if given.part != "run":
        kept["weights"] = {name: measured(name, given.data, sets) for name, sets in OF.items()}
    if given.part != "weights":
        kept["run"] = trained(given.data, given.work)
    RESULT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
