"""How far the scores are from those that the PyTorch release itself gave.

    python experiments/score_accuracy.py --shared DIR

DIR holds golden/metrics_*.json and the images they are of (9 synthetic cases, 54 of real images).
Writes the largest relative difference per score to experiments/results/score_accuracy.json.
"""

import json
from pathlib import Path

import numpy as np

from cddfuse_jax.console import ArgumentParser, progress, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import replacing
from cddfuse_jax.images.image_files import read_grey
from cddfuse_jax.metrics import PROTOCOLS
from cddfuse_jax.metrics.baselines import maximum, mean

RESULT = Path(__file__).parent / "results" / "score_accuracy.json"
METRICS = PROTOCOLS["release"].metrics
RULES = {
    "max": maximum,
    "mean": mean,
    "weighted": lambda visible, infrared: np.rint(0.7 * infrared + 0.3 * visible),
}
FOLDERS = {"TNO": ("vi", "ir"), "RoadScene": ("vi", "ir"), "MRI_CT": ("MRI", "CT")}


def cases(shared: Path):
    """Yield (case, fused, visible, infrared, the release's scores)."""
    golden = json.loads((shared / "golden" / "metrics_synthetic.json").read_text())
    with np.load(shared / "golden" / "metrics_synthetic.npz") as arrays:
        for case, scores in golden.items():
            name, rule = case.split("/")
            images = (arrays[f"{name}/{which}"] for which in (rule, "visible", "infrared"))
            yield case, *images, scores
    golden = json.loads((shared / "golden" / "metrics_real.json").read_text())
    for case, scores in golden.items():
        dataset, name, rule = case.split("/")
        if name != "MEAN":
            folder = shared / "data" / dataset
            sources = [read_grey(folder / side / name).astype(float) for side in FOLDERS[dataset]]
            yield case, RULES[rule](*sources), *sources, scores


def main() -> None:
    """Compare, print and write."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", required=True, type=Path, metavar="DIR")
    shared = parser.parse_args().shared
    if not (shared / "golden" / "metrics_real.json").is_file():
        raise InputError(f"{shared}: no golden/metrics_real.json there; give its folder")
    largest = {name: {"relative_difference": -1.0, "case": ""} for name in METRICS}
    count = 0
    for case, fused, visible, infrared, expected in progress(cases(shared), "comparing", total=63):
        count += 1
        for name, function in METRICS.items():
            value = function(fused, visible, infrared)
            difference = abs(value - expected[name]) / abs(expected[name])
            if difference > largest[name]["relative_difference"]:
                largest[name] = {"relative_difference": difference, "case": case}
    result = {"cases": count, "largest": largest}
    with replacing(RESULT) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    run(main)
