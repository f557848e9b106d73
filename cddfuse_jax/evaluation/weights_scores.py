"""Weights judged on the paper's test sets: scores and fidelity, next to published rows."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cddfuse_jax.console import report
from cddfuse_jax.errors import InputError
from cddfuse_jax.evaluation.evaluating import evaluate
from cddfuse_jax.evaluation.matching import Run
from cddfuse_jax.evaluation.rows import Evaluation, Row
from cddfuse_jax.evaluation.tables import cell, title
from cddfuse_jax.evaluation.test_sets import TEST_SETS
from cddfuse_jax.files import replacing
from cddfuse_jax.fusing.folder import reported
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.fusing.jobs import Job
from cddfuse_jax.images.image_files import read_grey
from cddfuse_jax.metrics.baselines import BASELINES
from cddfuse_jax.metrics.fidelity import Fidelity, fidelity, mean_fidelity
from cddfuse_jax.metrics.protocols import PAPER_SCORES
from cddfuse_jax.metrics.published import PUBLISHED
from cddfuse_jax.models import Residual
from cddfuse_jax.pairs.find import find_pairs
from cddfuse_jax.weights.any_format import load
from cddfuse_jax.weights.identity import short_digest

PAPER, MEDICAL_PAPER = "CDDFuse", "CDDFuse*"  # for infrared-visible, for medical pairs
AUTHORS = "authors' images"
FIDELITY_HEADS = ("intensity", "gradient", "loss", "targets", "darker", "brighter", "dots")


class SetScores(NamedTuple):
    """One test set: what `evaluate` found, the fidelity of its rows by name, and the paper's row.

    ``paper`` names the row of the paper that was had with weights of the same kind.
    """

    evaluation: Evaluation
    fidelity: dict[str, Fidelity]
    paper: str


def score_set(
    name: str,
    sides: tuple[Path, Path],
    weights: list[Path],
    out: Path,
    label: str,
    authors: Path | None = None,
    residual: Residual | None = None,
    protocol: str = "release",
) -> SetScores:
    """Fuse a test set of `TEST_SETS`, whose images are in ``sides``, with weights and score it.

    Several weights differ by seed alone and become mean ± standard deviation in the row ``label``.
    ``out`` takes fused_0, ... and the report; what an interrupted call has fused is not fused
    again. ``authors`` is a folder of others' fused images, scored too. Without ``residual`` weights
    that were trained with none have none, and others what fits the set.

    Raises:
        InputError: weights or images cannot be used, or ``out`` holds images of other weights.
    """
    pairs = find_pairs(*sides).pairs
    if not pairs:
        raise InputError(f"{sides[0]} and {sides[1]}: no image of one name is in both")
    folders = []
    for seed, each in enumerate(weights):
        loaded = load(each)
        trained, params = loaded.residual, loaded.params
        added = residual or ("none" if trained == "none" else TEST_SETS[name].residual)
        folder = out / f"fused_{seed}"
        _check_same_weights(folder, params, added)
        missing = [pair for pair in pairs if not (folder / f"{pair.name}.png").exists()]
        if missing:
            jobs = [Job(pair, folder / f"{pair.name}.png") for pair in missing]
            fusing = Fuser(each, added, color="none").fuse(jobs)
            outcomes = list(reported(fusing, len(jobs)))
            if failed := sum(outcome.error is not None for outcome in outcomes):
                raise InputError(f"{name}: {failed} pairs were not fused, see above")
        folders.append(folder)
    runs = [Run(label, tuple(folders))]
    if authors is not None:
        runs.append(Run(AUTHORS, (authors,)))
    evaluation = evaluate(
        runs, *sides, out, protocol, dataset=name if name in PUBLISHED else None, overwrite=True
    )
    paper = MEDICAL_PAPER if added == "none" and TEST_SETS[name].residual == "sum" else PAPER
    return SetScores(evaluation, _fidelity(evaluation), paper)


def _check_same_weights(folder: Path, params, residual: str) -> None:
    """Note whose images a folder takes, and refuse one that has others'."""
    these = f"{short_digest(params)} {residual}"
    note = folder / "weights.txt"
    if not note.exists() and not any(folder.glob("*.png")):
        with replacing(note) as file:
            file.write_text(f"{these}\n")
    elif not note.exists() or note.read_text().strip() != these:
        raise InputError(f"{folder}: has images of other weights; name another --out")


def _fidelity(evaluation: Evaluation) -> dict[str, Fidelity]:
    found: dict[str, list[Fidelity]] = {}
    baselines = [row.name for row in evaluation.rows if row.kind == "baseline"]
    for scene in evaluation.scenes:
        sources = [read_grey(side) for side in (scene.pair.visible, scene.pair.infrared)]
        for run, files in zip(evaluation.runs, scene.fused, strict=True):
            seeds = [fidelity(read_grey(file, fused=True), *sources) for file in files]
            found.setdefault(run.name, []).append(mean_fidelity(seeds))
        for name in baselines:
            fused = BASELINES[name](*sources)
            found.setdefault(f"baseline {name}", []).append(fidelity(fused, *sources))
    return {name: mean_fidelity(each) for name, each in found.items()}


def markdown(scored: dict[str, SetScores]) -> str:
    """Write a table per test set, each under a line that names protocol and set."""
    lines = []
    for name, each in scored.items():
        dark = TEST_SETS[name].residual == "sum"  # medical: what is black is no tissue
        heads = [*PAPER_SCORES, *FIDELITY_HEADS, *["black"][:dark]]
        lines += [title(each.evaluation) + ".", "", "| | " + " | ".join(heads) + " |"]
        lines += ["|---" * (1 + len(heads)) + "|"]
        for row in each.evaluation.rows:
            cells = [cell(row, score) for score in PAPER_SCORES]
            cells += _cells(each.fidelity.get(row.label), dark)
            lines += ["| " + " | ".join([row.label, *cells]) + " |"]
        if share := of_the_paper(each):
            cells = [f"{100 * share[score]:.1f} %" for score in PAPER_SCORES]
            lines += ["| " + " | ".join([f"of {each.paper}", *cells, *["-"] * (7 + dark)]) + " |"]
        lines += [""]
    return "\n".join(lines)


def _cells(found: Fidelity | None, dark: bool) -> list[str]:
    if found is None:
        return ["-"] * (7 + dark)
    values = [f"{found.intensity:.4f}", f"{found.gradient:.4f}", f"{found.loss:.4f}"]
    values += [f"{found.targets:.3f}" if np.isfinite(found.targets) else "-"]
    values += [f"{100 * found.darker:.2f} %", f"{100 * found.brighter:.2f} %"]
    values += [f"{100 * found.dots:.3f} %"]
    return values + [f"{found.background:.1f}" if np.isfinite(found.background) else "-"][:dark]


def of_the_paper(scored: SetScores) -> dict[str, float]:
    """Return the first run's scores over those published for `paper`; {} where none are."""
    rows = scored.evaluation.rows
    paper = [row for row in rows if row.kind == "published" and row.name == scored.paper]
    if not paper:
        return {}
    own: Row = rows[0]
    return {score: own.means[score] / value for score, value in paper[0].means.items()}


def as_json(scored: dict[str, SetScores]) -> str:
    """Return all means and fidelity, unrounded."""
    result = {}
    for name, each in scored.items():
        rows = {}
        for row in each.evaluation.rows:
            rows[row.label] = {"kind": row.kind, "source": row.source, "scores": row.means}
            if row.deviations:
                rows[row.label]["deviations"] = row.deviations
            if found := each.fidelity.get(row.label):
                numbers = found._asdict() | {"loss": found.loss}
                rows[row.label]["fidelity"] = {
                    key: value if np.isfinite(value) else None for key, value in numbers.items()
                }
        result[name] = {
            "pairs": len(each.evaluation.scenes),
            "protocol": each.evaluation.protocol.name,
            "compared_with": each.paper,
            "of_the_paper": of_the_paper(each),
            "rows": rows,
        }
    return json.dumps(result, indent=1, ensure_ascii=False) + "\n"


def found_sets(
    names: list[str], data: list[Path], elsewhere: dict[str, Path]
) -> dict[str, tuple[Path, Path]]:
    """Return the folders of the test sets that are there, and report the others."""
    found = {}
    for name in names:
        known = TEST_SETS[name]
        if name in elsewhere:
            sides = known._replace(folders=(".",)).sides(elsewhere[name])
            if sides is None:
                raise InputError(
                    f"{elsewhere[name]}: {name} needs folders {known.visible} and {known.infrared}"
                )
        else:
            sides = next(filter(None, map(known.sides, data)), None)
        if sides is None:
            report(
                f"left out: {name}, no {known.folders[0]}/{known.visible} in the data given; "
                f"to be had at {known.source}"
            )
            continue
        found[name] = sides
    if not found:
        raise InputError("no test set is in the folders given; see --help for how they are named")
    return found
