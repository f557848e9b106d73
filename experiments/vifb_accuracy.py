"""How far the protocol `vifb` is from the values that the benchmark VIFB recorded.

    python experiments/vifb_accuracy.py --vifb DIR

DIR is a checkout of VIFB: input/VI, input/IR, output/fused_images and
output/evaluation_metrics/evaluationMetrics.mat (21 pairs x 25 methods x 13 scores). An error is
relative, and absolute where the recorded value is below 0.1. Writes
experiments/results/vifb_accuracy.json.
"""

import json
import time
from pathlib import Path

import numpy as np
import scipy

from cddfuse_jax.console import ArgumentParser, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.evaluation.matching import Run, find_scenes
from cddfuse_jax.evaluation.scoring import score_scenes
from cddfuse_jax.files import replacing
from cddfuse_jax.metrics import PROTOCOLS

RESULT = Path(__file__).parent / "results" / "vifb_accuracy.json"
# Axes of the recorded array: images by name (as VIFB lists them), methods, scores.
METHODS = (
    "ADF", "CBF", "CNN", "DLF", "FPDE", "GFCE", "GFF", "GTF", "HMSD_GF", "Hybrid_MSD", "IFEVIP",
    "LatLRR", "LP_SR", "MGFF", "MSVD", "NSCT_SR", "ResNet", "RP_SR", "TIF", "VSMWLS", "IFCNN",
    "SeAFusion", "SwinFusion", "U2Fusion", "YDTR",
)  # fmt: skip
IMAGES = (
    "carLight", "carShadow", "carWhite", "elecbike", "fight", "kettle", "labMan", "man", "manCall",
    "manCar", "manlight", "manWalking", "manwithbag", "nightCar", "peopleshadow", "running",
    "snow", "tricycle", "walking", "walking2", "walkingnight",
)  # fmt: skip
SCORES = tuple(PROTOCOLS["vifb"].metrics)
MEDIAN, WITHIN, SHARE = 1e-3, 1e-2, 0.99  # the bar, per score
SMALL = 0.1  # below this, errors are absolute and the median is held to a tenth


def recorded(folder: Path) -> np.ndarray:
    """Read the recorded values: (images, methods, scores)."""
    file = folder / "output" / "evaluation_metrics" / "evaluationMetrics.mat"
    if not file.is_file():
        raise InputError(f"{file}: no such file; --vifb is a checkout of VIFB")
    return scipy.io.loadmat(file)["resultsMetrics"]


def scored(folder: Path, workers: int | None) -> np.ndarray:
    """Score all fused images: (images, methods, scores)."""
    runs = [Run(m, (folder / "output" / "fused_images" / f"{{}}_{m}",)) for m in METHODS]
    selection = find_scenes(runs, folder / "input" / "VI", folder / "input" / "IR")
    outcomes = {o.name: o for o in score_scenes(selection.scenes, "vifb", (), workers)}
    if errors := [line for outcome in outcomes.values() for line in outcome.errors]:
        raise InputError(errors[0])
    return np.array(
        [[[seeds[0][s] for s in SCORES] for seeds in outcomes[name].runs] for name in IMAGES]
    )


def compared(ours: np.ndarray, theirs: np.ndarray) -> dict:
    """Hold every score to the bar, and the order of the methods by mean."""
    small = theirs < SMALL
    error = np.where(small, np.abs(ours - theirs), np.abs(ours / theirs - 1))
    result = {}
    for k, score in enumerate(SCORES):
        of = error[..., k]
        means = theirs[..., k].mean(0), ours[..., k].mean(0)
        largest = np.abs(ours[..., k] - theirs[..., k]).max()
        gaps = means[0][:, None] - means[0]
        swapped = (np.abs(gaps) > largest) & (
            np.sign(gaps) != np.sign(means[1][:, None] - means[1])
        )
        median = float(np.median(of))
        image, method = divmod(int(of.argmax()), len(METHODS))
        exact = np.abs(ours[..., k] / theirs[..., k] - 1).max(0) < 1e-4
        result[score] = {
            "median": median,
            "within_1_percent": float((of <= WITHIN).mean()),
            "largest": float(of.max()),
            "largest_of": f"{IMAGES[image]}, {METHODS[method]}",
            "methods_exact_to_1e-4": int(exact.sum()),
            "other_methods": [m for m, same in zip(METHODS, exact, strict=True) if not same],
            "order_of_methods_kept": not bool(swapped.any()),
            "bar_met": bool(
                (np.median(of[~small[..., k]]) <= MEDIAN if (~small[..., k]).any() else True)
                and (np.median(of[small[..., k]]) <= MEDIAN / 10 if small[..., k].any() else True)
                and (of <= WITHIN).mean() >= SHARE
            ),
        }
    return result


def main() -> None:
    """Score, compare, print and write."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vifb", required=True, type=Path, metavar="DIR")
    parser.add_argument("--workers", type=int, metavar="N", help="default: one per CPU")
    given = parser.parse_args()
    theirs = recorded(given.vifb)
    start = time.perf_counter()
    ours = scored(given.vifb, given.workers)
    result = {
        "values": int(theirs.size),
        "seconds_for_525_images": round(time.perf_counter() - start),
        "scores": compared(ours, theirs),
    }
    with replacing(RESULT) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    run(main)
