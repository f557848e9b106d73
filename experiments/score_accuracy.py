"""How far the scores are from those that the evaluators' own programs gave.

    python experiments/score_accuracy.py --shared DIR

DIR holds golden/metrics_*.json of the PyTorch release (9 synthetic cases, 54 of real images) and
data/ with the images; the values of L. Tang's evaluation and of IVIF_ZOO are in
experiments/results/evaluators.json (25 pairs each). Writes the largest relative difference per
protocol and score to experiments/results/score_accuracy.json.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from cddfuse_jax.console import ArgumentParser, progress, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import replacing
from cddfuse_jax.images.image_files import read_grey
from cddfuse_jax.metrics import PROTOCOLS, compute
from cddfuse_jax.metrics.baselines import BASELINES, maximum, mean

RESULT = Path(__file__).parent / "results" / "score_accuracy.json"
EVALUATORS = Path(__file__).parent / "results" / "evaluators.json"
RULES = {
    "max": maximum,
    "mean": mean,
    "weighted": lambda visible, infrared: np.rint(0.7 * infrared + 0.3 * visible),
}
FOLDERS = {
    "TNO": ("vi", "ir"),
    "RoadScene": ("vi", "ir"),
    "MRI_CT": ("MRI", "CT"),
    "MRI_PET": ("MRI", "PET"),
}


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


def middle(image: np.ndarray, size: list[int]) -> np.ndarray:
    """Cut the middle out of an image."""
    top, left = ((side - part) // 2 for side, part in zip(image.shape, size, strict=True))
    return image[top : top + size[0], left : left + size[1]]


def evaluator_cases(shared: Path, evaluator: dict):
    """Yield (case, score, images, the evaluator's value)."""
    for case, scores in evaluator["values"].items():
        dataset, name, rule = case.split("/")
        files = [shared / "data" / dataset / side / name for side in FOLDERS[dataset]]
        sources = [np.array(Image.open(file).convert("L"), float) for file in files]
        images = [middle(x, evaluator["region"]) for x in (RULES[rule](*sources), *sources)]
        for score, value in scores.items():
            size = evaluator.get("region_of_FMI") if score.startswith("FMI") else None
            yield case, score, [middle(x, size) if size else x for x in images], value


def largest(found) -> dict:
    """Return the largest relative difference per score, and how many values it is of."""
    result = {}
    for case, score, metric, images, expected in found:
        value = metric(*images, data_range=255)
        difference = abs(value - expected) / (abs(expected) or 1)
        entry = result.setdefault(score, {"relative_difference": -1.0, "case": "", "cases": 0})
        entry["cases"] += 1
        if difference > entry["relative_difference"]:
            entry |= {"relative_difference": difference, "case": case}
    return result


def one_image(shared: Path) -> dict:
    """Score one image by every protocol: TNO's 01, the mean of both sources, stretched."""
    sources = [read_grey(shared / "data" / "TNO" / side / "01.png") for side in ("vi", "ir")]
    fused = BASELINES["mean-stretched"](*sources).astype(np.uint8)
    return {name: compute(fused, *sources, protocol=name) for name in PROTOCOLS}


def main() -> None:
    """Compare, print and write."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", required=True, type=Path, metavar="DIR")
    shared = parser.parse_args().shared
    if not (shared / "golden" / "metrics_real.json").is_file():
        raise InputError(f"{shared}: no golden/metrics_real.json there; give its folder")
    release = PROTOCOLS["release"].metrics
    result = {
        "release": largest(
            (case, name, metric, images, scores[name])
            for case, *images, scores in progress(cases(shared), "comparing", total=63)
            for name, metric in release.items()
        )
    }
    for protocol in ("tang", "ivif_zoo"):
        evaluator = json.loads(EVALUATORS.read_text())[protocol]
        result[protocol] = largest(
            (case, name, PROTOCOLS[protocol].metrics[name], images, value)
            for case, name, images, value in evaluator_cases(shared, evaluator)
        )
    result["one_image"] = one_image(shared)
    with replacing(RESULT) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    run(main)
