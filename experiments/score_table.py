"""The README's table of scores, from weights: fuse the test sets, then score what came out.

    python experiments/score_table.py --weights W --data DIR --out DIR
    python experiments/score_table.py --weights SEED0 --weights SEED1 --weights SEED2 ...

Weights that differ by seed alone become mean ± standard deviation. DIR holds a folder per test
set, TNO/{ir,vi} and so on; sets that are not there are left out, and said so. Fused images are
kept in OUT/SET/fused_N, reports in OUT/SET, the table in OUT/table.md.
"""

import subprocess
import sys
from pathlib import Path

from cddfuse_jax.console import ArgumentParser, report, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.evaluation.evaluating import evaluate
from cddfuse_jax.evaluation.matching import Run
from cddfuse_jax.evaluation.rows import Evaluation
from cddfuse_jax.evaluation.tables import cell, title
from cddfuse_jax.files import replacing
from cddfuse_jax.metrics.protocols import PAPER_SCORES, PROTOCOLS

# Test set: its folder, the folders of infrared and visible images in it, and the residual that
# the release's infrared-visible weights take there. For medical pairs MRI is the visible image.
TEST_SETS = {
    "MSRS": ("MSRS/test", "ir", "vi", "visible"),
    "TNO": ("TNO", "ir", "vi", "visible"),
    "RoadScene": ("RoadScene", "ir", "vi", "visible"),
    "MRI-CT": ("MRI_CT", "CT", "MRI", "sum"),
    "MRI-PET": ("MRI_PET", "PET", "MRI", "sum"),
    "MRI-SPECT": ("MRI_SPECT", "SPECT", "MRI", "sum"),
}


def fuse(weights: Path, visible: Path, infrared: Path, out: Path, residual: str) -> None:
    """Run the fuse program; its own messages say what went wrong."""
    command = [sys.executable, "-m", "cddfuse_jax.fuse", "--weights", str(weights)]
    command += ["--vi", str(visible), "--ir", str(infrared), "--out", str(out)]
    command += ["--residual", residual, "--color", "none", "--overwrite"]
    if subprocess.run(command).returncode != 0:
        raise InputError(f"fusing {visible} with {weights} failed, see above")


def markdown(evaluations: list[Evaluation]) -> str:
    """Write the tables of all test sets, each under a line that names protocol and set."""
    lines = []
    for evaluation in evaluations:
        lines += [title(evaluation) + ".", "", "| | " + " | ".join(PAPER_SCORES) + " |"]
        lines += ["|---" * (1 + len(PAPER_SCORES)) + "|"]
        for row in evaluation.rows:
            cells = [row.label, *(cell(row, score) for score in PAPER_SCORES)]
            lines += ["| " + " | ".join(cells) + " |"]
        lines += [""]
    return "\n".join(lines)


def main() -> int:
    """Fuse and score every test set that is there; 1 when images failed."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--weights", required=True, action="append", type=Path, help="again for each seed")
    add("--data", required=True, type=Path, metavar="DIR", help="folder of the test sets")
    add("--out", required=True, type=Path, metavar="DIR", help="fused images and reports")
    add("--sets", nargs="+", choices=TEST_SETS, default=list(TEST_SETS), metavar="SET",
        help=f"some of {', '.join(TEST_SETS)}")  # fmt: skip
    add("--residual", choices=("visible", "sum", "none"),
        help="default: visible for infrared-visible sets, sum for medical ones; weights trained "
        "for medical fusion take none")  # fmt: skip
    add("--name", default="CDDFuse-JAX", help="what to call the row; default: %(default)s")
    add("--protocol", default="release", choices=PROTOCOLS, help="default: %(default)s")
    arguments = parser.parse_args()
    evaluations = []
    for name in arguments.sets:
        folder, infrared, visible, residual = TEST_SETS[name]
        ir, vi = arguments.data / folder / infrared, arguments.data / folder / visible
        if not (ir.is_dir() and vi.is_dir()):
            report(f"left out: {name}, no {ir} and {vi}")
            continue
        fused = []
        for seed, weights in enumerate(arguments.weights):
            fused.append(arguments.out / name / f"fused_{seed}")
            fuse(weights, vi, ir, fused[-1], arguments.residual or residual)
        runs = [Run(arguments.name, tuple(fused))]
        evaluations.append(
            evaluate(runs, vi, ir, arguments.out / name, arguments.protocol, dataset=name)
        )
    if not evaluations:
        raise InputError(f"no test set is in {arguments.data}; see --help for the folders")
    with replacing(arguments.out / "table.md") as temporary:
        temporary.write_text(markdown(evaluations), encoding="utf-8")
    print(markdown(evaluations))
    return 1 if any(evaluation.errors for evaluation in evaluations) else 0


if __name__ == "__main__":
    run(main)
