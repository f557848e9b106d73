"""Runs scored on the scenes that all of them have, ranked, and the report of it."""

import contextlib
from collections import defaultdict
from pathlib import Path

from cddfuse_jax.console import note_lines, report
from cddfuse_jax.errors import InputError
from cddfuse_jax.evaluation import DEFAULT_BASELINES, REPORT_FILES
from cddfuse_jax.evaluation.latex import check_columns, latex_table
from cddfuse_jax.evaluation.matching import PLACE, Run, find_scenes
from cddfuse_jax.evaluation.ranking import rank
from cddfuse_jax.evaluation.report_page import write_report
from cddfuse_jax.evaluation.rows import Evaluation, published_rows, rows_of
from cddfuse_jax.evaluation.scoring import SceneScores, score_scenes
from cddfuse_jax.evaluation.tables import ODD, write_csv, write_means, write_summary
from cddfuse_jax.files import check_outputs, replacing
from cddfuse_jax.metrics.baselines import known_baselines
from cddfuse_jax.metrics.protocols import PROTOCOLS, protocol_named
from cddfuse_jax.metrics.published import PUBLISHED, published_name
from cddfuse_jax.pairs.matches import Matches
from cddfuse_jax.pairs.rules import Rule
from cddfuse_jax.rigs.rig import Rig


def evaluate(
    runs: list[Run],
    visible: Path,
    infrared: Path,
    out: Path,
    protocol: str = "release",
    baselines: tuple[str, ...] = DEFAULT_BASELINES,
    dataset: str | None = None,
    workers: int | None = None,
    names: tuple[str, ...] | None = None,
    reference: str | None = None,
    latex: Path | None = None,
    columns: tuple[str, ...] = (),
    overwrite: bool = False,
    rule: Rule | None = None,
    rig: Rig | Matches | None = None,
) -> Evaluation:
    """Score runs on the scenes all of them have, and rank them.

    Writes scores.csv, means.csv, summary.json and report.html to ``out``, and a table of means to
    the file ``latex``. Leftovers, files that cannot be scored and what was changed in reading get
    one line each on standard error. A scene that fails in any run is in no row's mean, so that all
    rows are over the same images. Nothing is written before all is scored, and then all files or
    none.

    ``protocol``, ``baselines`` and ``dataset`` are names in `PROTOCOLS`, `BASELINES` and
    `PUBLISHED`; ``names`` the scores to compute, None for all of the protocol; ``reference`` the
    run that all others are compared with, None for the first of several; ``columns`` the scores of
    the table in LaTeX, () for the terminal's, eight at most; ``rule`` how the sources' names go
    together; ``rig`` the registration with which the images were fused, or the matches.

    Raises:
        InputError: an unknown name, a missing folder, or nothing that could be scored; or a
            report is there already.
    """
    chosen, baselines = protocol_named(protocol), known_baselines(baselines)
    metrics = {name: chosen.metric(name) for name in names or chosen.metrics}
    dataset = published_name(dataset) if dataset else None
    _check_runs(runs, reference)
    check_columns(columns, tuple(metrics))
    if out.exists() and not out.is_dir():
        raise InputError(f"--out is a folder for the report, {out} is a file; give another name")
    selection = find_scenes(runs, visible, infrared, rule)
    if isinstance(rig, Matches):
        rig.check(selection.pairs)
    written = [*(out / name for name in REPORT_FILES), *([latex] if latex else [])]
    read = [file for scene in selection.scenes for files in scene.fused for file in files]
    check_outputs(written, [*read, *(f for scene in selection.scenes for f in scene.pair[1:])],
                  overwrite)  # fmt: skip
    for note in selection.notes:
        report(f"note: {note}")
    for folder, pattern in selection.patterns.items():
        if pattern not in (PLACE, Path(folder.partition("=")[2]).name):
            report(f"{folder}: images are named {pattern}")
    for folder, left in selection.leftovers.items():
        report(f"not scored, not in all folders: {len(left)} of {folder}: {_some(left)}")
    for place, count in selection.others.items():
        report(f"ignored {count} files of {place}: their names match no method")
    outcomes = score_scenes(selection.scenes, protocol, baselines, workers, tuple(metrics), rig)
    errors = [line for outcome in outcomes for line in outcome.errors]
    for line in errors:
        report(f"not scored: {line}")
    scored = [outcome for outcome in outcomes if not outcome.errors]
    if not scored:
        raise InputError(f"none of {len(outcomes)} images could be scored, see above")
    about = defaultdict(list)
    for outcome in scored:
        for note, name in outcome.notes:
            about[note].append(name)
    notes = [*note_lines(about), *_remarks(runs, scored, protocol, dataset)]
    for line in notes:
        report(f"note: {line}")
    found = {outcome.name for outcome in scored}
    rows = rows_of(runs, scored) + (published_rows(dataset, chosen) if dataset else [])
    if len(runs) > 1 and reference is None:
        reference = runs[0].name
    evaluation = Evaluation(
        protocol=chosen,
        metrics=metrics,
        dataset=dataset,
        runs=runs,
        scenes=[scene for scene in selection.scenes if scene.pair.name in found],
        pairs=selection.pairs,
        rows=rows,
        ranking=rank(rows, metrics, reference),
        leftovers=selection.leftovers,
        errors=errors,
        notes=notes,
    )
    # All or none, so that a report never lies next to the scores of another.
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(replacing(out / name)) for name in REPORT_FILES]
        write_csv(outputs[0], evaluation)
        write_means(outputs[1], evaluation)
        write_summary(outputs[2], evaluation)
        write_report(outputs[3], evaluation)
        if latex is not None:
            table = stack.enter_context(replacing(latex))
            table.write_text(latex_table(evaluation, columns), encoding="utf-8", errors=ODD)
    return evaluation


def _check_runs(runs: list[Run], reference: str | None) -> None:
    names = [run.name for run in runs]
    if reference is not None and reference not in names:
        raise InputError(
            f"--reference is the name of a run, got {reference!r}; runs are {', '.join(names)}"
        )
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"runs need names that differ, two are {name!r}; give NAME=DIR")


def _remarks(
    runs: list[Run], scored: list[SceneScores], protocol: str, dataset: str | None
) -> list[str]:
    """Say what a reader must know to compare the rows."""
    remarks = []
    if dataset and len(scored) != (pairs := PUBLISHED[dataset].pairs):
        remarks.append(
            f"the rows published for {dataset} are over {pairs} images, here are {len(scored)}"
        )
    if dataset and protocol != "release":
        remarks.append(
            "published rows follow the protocol release, on stretched images; the scores that "
            f"{protocol} defines otherwise are left out of them"
        )
    if scored[0].baselines:
        remarks.append(
            "baselines are scored as they are; the release's fuse program stretches every image "
            "to 0-255, which alone raises SD (baselines with that: max-stretched, mean-stretched)"
        )
    for index, each in enumerate(runs):
        grey = PROTOCOLS[protocol].colour == "luma"
        if grey and any(scene.coloured[index] for scene in scored):
            remarks.append(
                f"{each.name} has images in colour, of which the luma was scored, rounded again; "
                f"the protocol {protocol} is grey: fuse with --color none"
            )
        if protocol == "corrected" and all(scene.stretched[index] for scene in scored):
            remarks.append(
                f"every image of {each.name} spans 0-255, as after a per-image stretch; the "
                "corrected protocol is meant for images fused without one"
            )
    return remarks


def _some(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more (all in summary.json)" if len(names) > most else ""
    return ", ".join(names[:most]) + more
