"""The standing table: this network among VIFB's 25 methods on its 21 pairs, by its 13 scores.

    python experiments/vifb_benchmark.py --vifb DIR [--weights W] [--fused DIR]

DIR is a checkout of VIFB (see vifb_accuracy.py). Its pairs are fused with W (default: the package's
own), or taken as fused before from --fused, and scored under the protocol `vifb`; the other rows
are the means of what VIFB recorded, which that protocol reproduces. VIFB is a test set: nothing is
trained or chosen on it. Writes experiments/results/vifb_benchmark.json and docs/benchmark.md.
"""

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

from vifb_accuracy import METHODS, SCORES, recorded

from cddfuse_jax.console import ArgumentParser, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.evaluation.matching import Run, find_scenes
from cddfuse_jax.evaluation.ranking import rank
from cddfuse_jax.evaluation.rows import Row, rows_of
from cddfuse_jax.evaluation.scoring import score_scenes
from cddfuse_jax.files import replacing
from cddfuse_jax.metrics import PROTOCOLS
from cddfuse_jax.weights import shipped

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "experiments" / "results" / "vifb_benchmark.json"
PAGE = ROOT / "docs" / "benchmark.md"
OURS = "CDDFuse-JAX"
SHOWN = 5  # methods on the page


def fuse(folder: Path, weights: str | None, out: Path) -> None:
    """Run the fuse program as its default is: in colour, stretched."""
    command = [sys.executable, "-m", "cddfuse_jax.fuse", "--out", str(out)]
    command += ["--vi", str(folder / "input" / "VI"), "--ir", str(folder / "input" / "IR")]
    command += ["--weights", weights] if weights else []
    if subprocess.run(command).returncode != 0:
        raise InputError(f"fusing {folder}/input failed, see above")


def rows(folder: Path, fused: Path) -> list[Row]:
    """Score ours, and put the recorded values next to it."""
    selection = find_scenes([Run(OURS, (fused,))], folder / "input" / "VI", folder / "input" / "IR")
    outcomes = score_scenes(selection.scenes, "vifb", ())
    if errors := [line for outcome in outcomes for line in outcome.errors]:
        raise InputError(errors[0])
    if len(outcomes) != 21:
        raise InputError(f"VIFB has 21 pairs, {len(outcomes)} are fused in {fused}")
    found = rows_of([Run(OURS, (fused,))], outcomes)
    values = recorded(folder)
    for index, method in enumerate(METHODS):
        images = [dict(zip(SCORES, map(float, x), strict=True)) for x in values[:, index]]
        means = {s: sum(image[s] for image in images) / len(images) for s in SCORES}
        found.append(Row(method, "run", "recorded by VIFB", means, {}, [images]))
    return found


def page(result: dict) -> str:
    """Write the table, best mean rank first."""
    metrics = PROTOCOLS["vifb"].metrics
    heads = [f"{name} {metrics[name].arrow}" for name in SCORES]
    lines = [
        "# Benchmark",
        "",
        "This network among the 25 methods of VIFB (Zhang, Ye and Xiao, CVPR workshops 2020).",
        "",
        "```sh",
        "python experiments/vifb_benchmark.py --vifb CHECKOUT_OF_VIFB",
        "```",
        "",
        "Its 21 pairs and 13 scores ([protocol `vifb`](scores.md#the-protocols)), sorted by the",
        "mean rank over the scores; the best of all methods bold. Nothing was trained or chosen on",
        f"these pairs. Ours is fused by the weights `{result['weights']}` as `cddfuse fuse` does",
        "by default, in colour and stretched. The other rows are what VIFB recorded. Some scores",
        "reward noise and contrast (EN, AG, EI, SD, SF) or copying (MI, CE), so a mean rank is a",
        f"summary, not a verdict. The first {SHOWN} of {len(result['methods'])}; all are in",
        "`experiments/results/vifb_benchmark.json`.",
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
    """Fuse, score, write the result and the page."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vifb", required=True, type=Path, metavar="DIR")
    parser.add_argument("--weights", metavar="W", help="default: the fuse program's")
    parser.add_argument(
        "--fused", type=Path, metavar="DIR", help="fused before, with those weights"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        fused = given.fused or Path(temporary) / "fused"
        if not given.fused:
            fuse(given.vifb, given.weights, fused)
        found = rows(given.vifb, fused)
    ranking = rank(found, PROTOCOLS["vifb"].metrics, None)
    result = {
        "weights": given.weights or shipped.DEFAULT,
        "pairs": 21,
        "methods": {
            row.name: {
                "means": {s: float(f"{x:.6g}") for s, x in row.means.items()},
                "ranks": ranking.ranks[row.label],
                "mean_rank": round(ranking.mean_ranks[row.label], 4),
            }
            for row in found
        },
    }
    with replacing(RESULT) as file, replacing(PAGE) as text:
        file.write_text(json.dumps(result, indent=1) + "\n")
        text.write_text(page(result), encoding="utf-8")
    print(page(result))


if __name__ == "__main__":
    run(main)
