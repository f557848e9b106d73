"""The benchmark VIFB: how near the protocol `vifb` is to its values, and this network among its 25.

    python experiments/vifb.py accuracy --vifb DIR
    python experiments/vifb.py benchmark --vifb DIR [--weights W] [--fused DIR]

DIR is a checkout of VIFB: input/VI, input/IR, output/fused_images and
output/evaluation_metrics/evaluationMetrics.mat (21 pairs x 25 methods x 13 scores). ``accuracy``
scores its fused images again; an error is relative, and absolute where the recorded value is below
0.1. ``benchmark`` fuses its pairs with W (default: the package's own), or takes what was fused
before from --fused, and scores that; the other rows are the means of what VIFB recorded. VIFB is a
test set: nothing is trained or chosen on it. Written are experiments/results/vifb_accuracy.json, or
experiments/results/vifb_benchmark.json and docs/benchmark.md.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy

from cddfuse_jax.console import ArgumentParser, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.evaluation.matching import Run, find_scenes
from cddfuse_jax.evaluation.ranking import rank
from cddfuse_jax.evaluation.rows import Row, rows_of
from cddfuse_jax.evaluation.scoring import SceneScores, score_scenes
from cddfuse_jax.files import replacing
from cddfuse_jax.metrics import PROTOCOLS
from cddfuse_jax.weights import shipped

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "experiments" / "results"
PAGE = ROOT / "docs" / "benchmark.md"
# Axes of the recorded array: images by name whatever its case, methods, scores.
METHODS = (
    "ADF", "CBF", "CNN", "DLF", "FPDE", "GFCE", "GFF", "GTF", "HMSD_GF", "Hybrid_MSD", "IFEVIP",
    "LatLRR", "LP_SR", "MGFF", "MSVD", "NSCT_SR", "ResNet", "RP_SR", "TIF", "VSMWLS", "IFCNN",
    "SeAFusion", "SwinFusion", "U2Fusion", "YDTR",
)  # fmt: skip
METRICS = PROTOCOLS["vifb"].metrics
SCORES = tuple(METRICS)
OURS = "CDDFuse-JAX"
SMALL = 0.1  # recorded values below which errors are absolute
SHOWN = 5  # methods on the page


def recorded(folder: Path) -> np.ndarray:
    """Read the recorded values: (images, methods, scores)."""
    file = folder / "output" / "evaluation_metrics" / "evaluationMetrics.mat"
    if not file.is_file():
        raise InputError(f"{file}: no such file; --vifb is a checkout of VIFB")
    return scipy.io.loadmat(file)["resultsMetrics"]


def scored(folder: Path, runs: list[Run]) -> list[SceneScores]:
    """Score fused images of all pairs, in the order of the recorded array."""
    scenes = find_scenes(runs, folder / "input" / "VI", folder / "input" / "IR").scenes
    outcomes = score_scenes(scenes, "vifb", ())
    if errors := [line for outcome in outcomes for line in outcome.errors]:
        raise InputError(errors[0])
    if len(outcomes) != 21:
        raise InputError(f"VIFB has 21 pairs, {len(outcomes)} are fused")
    return sorted(outcomes, key=lambda outcome: outcome.name.lower())


def accuracy(given: argparse.Namespace) -> None:
    """Score VIFB's own fused images, and compare with what it recorded, score by score."""
    theirs, start = recorded(given.vifb), time.perf_counter()
    fused = given.vifb / "output" / "fused_images"
    outcomes = scored(given.vifb, [Run(m, (fused / f"{{}}_{m}",)) for m in METHODS])
    ours = np.array([[[seeds[0][s] for s in SCORES] for seeds in o.runs] for o in outcomes])
    errors = np.abs(ours - theirs) / np.where(theirs < SMALL, 1, np.abs(theirs))
    found = {}
    for k, score in enumerate(SCORES):
        error, largest = errors[..., k], np.abs(ours[..., k] - theirs[..., k]).max()
        image, method = divmod(int(error.argmax()), len(METHODS))
        here, there = (values[..., k].mean(0) for values in (ours, theirs))
        gaps = there[:, None] - there  # of methods' means, where they are no rounding
        swapped = (np.abs(gaps) > largest) & (np.sign(gaps) != np.sign(here[:, None] - here))
        found[score] = {
            "median": float(np.median(error)),
            "within_1_percent": float((error <= 0.01).mean()),
            "largest": float(error.max()),
            "largest_of": f"{outcomes[image].name}, {METHODS[method]}",
            "order_of_methods_kept": not bool(swapped.any()),
        }
    seconds = round(time.perf_counter() - start)
    result = {"values": int(theirs.size), "seconds_for_525_images": seconds, "scores": found}
    with replacing(RESULTS / "vifb_accuracy.json") as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def fuse(folder: Path, weights: str, out: Path) -> None:
    """Run the fuse program as its default is: in colour, stretched."""
    command = [sys.executable, "-m", "cddfuse_jax.fuse", "--out", str(out), "--weights", weights]
    command += ["--vi", str(folder / "input" / "VI"), "--ir", str(folder / "input" / "IR")]
    if subprocess.run(command).returncode != 0:
        raise InputError(f"fusing {folder}/input failed, see above")


def benchmark(given: argparse.Namespace) -> None:
    """Fuse, score, and write the result and the page."""
    with tempfile.TemporaryDirectory() as temporary:
        fused = given.fused or Path(temporary) / "fused"
        if not given.fused:
            fuse(given.vifb, given.weights, fused)
        runs = [Run(OURS, (fused,))]
        rows = rows_of(runs, scored(given.vifb, runs))
    for method, values in zip(METHODS, recorded(given.vifb).swapaxes(0, 1), strict=True):
        images = [dict(zip(SCORES, map(float, x), strict=True)) for x in values]
        means = dict(zip(SCORES, map(float, values.mean(0)), strict=True))
        rows.append(Row(method, "run", "recorded by VIFB", means, {}, [images]))
    ranking = rank(rows, METRICS, None)
    result = {
        "weights": given.weights,
        "pairs": 21,
        "methods": {
            row.name: {
                "means": {s: float(f"{x:.6g}") for s, x in row.means.items()},
                "ranks": ranking.ranks[row.label],
                "mean_rank": round(ranking.mean_ranks[row.label], 4),
            }
            for row in rows
        },
    }
    with replacing(RESULTS / "vifb_benchmark.json") as file, replacing(PAGE) as text:
        file.write_text(json.dumps(result, indent=1) + "\n")
        text.write_text(page(result), encoding="utf-8")
    print(page(result))


def page(result: dict) -> str:
    """Write the table, best mean rank first."""
    heads = [f"{name} {METRICS[name].arrow}" for name in SCORES]
    lines = [
        "# Benchmark",
        "",
        "This network among the 25 methods of VIFB (Zhang, Ye and Xiao, CVPR workshops 2020).",
        "",
        "```sh",
        "python experiments/vifb.py benchmark --vifb CHECKOUT_OF_VIFB",
        "```",
        "",
        "Its 21 pairs and 13 scores ([protocol `vifb`](scores.md#the-protocols)), sorted by the",
        "mean rank over the scores; the best of all methods bold. Nothing was trained or chosen on",
        f"these pairs. Ours is fused by the weights `{result['weights']}` as `cddfuse fuse` does",
        "by default, in colour and stretched. The other rows are what VIFB recorded. Some scores",
        "reward noise and contrast (EN, AG, EI, SD, SF) or copying (MI, CE), so a mean rank is a",
        f"summary, not a verdict. The best {SHOWN} of {len(result['methods'])}, and ours; all are",
        "in `experiments/results/vifb_benchmark.json`.",
        "",
        "| | " + " | ".join([*heads, "mean rank"]) + " |",
        "|---" * (len(SCORES) + 2) + "|",
    ]
    ordered = sorted(result["methods"].items(), key=lambda item: item[1]["mean_rank"])
    for place, (name, row) in enumerate(ordered, start=1):
        if place > SHOWN and name != OURS:
            continue
        cells = []
        for score in SCORES:
            text = significant(row["means"][score])
            cells.append(f"**{text}**" if row["ranks"][score] == 1 else text)
        label = f"**{name}**" if name == OURS else name
        lines.append("| " + " | ".join([label, *cells, f"{row['mean_rank']:.1f}"]) + " |")
    return "\n".join(lines) + "\n"


def significant(value: float) -> str:
    """Return a number with three significant digits."""
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, digits):.{max(digits, 0)}f}"


def main() -> None:
    """Do what is asked for."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("accuracy", "benchmark"))
    parser.add_argument("--vifb", required=True, type=Path, metavar="DIR")
    parser.add_argument("--weights", default=shipped.DEFAULT, metavar="W", help="of `benchmark`")
    parser.add_argument("--fused", type=Path, metavar="DIR", help="fused before, with those")
    given = parser.parse_args()
    {"accuracy": accuracy, "benchmark": benchmark}[given.what](given)


if __name__ == "__main__":
    run(main)
