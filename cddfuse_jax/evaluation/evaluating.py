"""Runs scored on the scenes that all of them have, and the report of it."""

from pathlib import Path

from cddfuse_jax.console import report
from cddfuse_jax.distributed import processes
from cddfuse_jax.errors import InputError
from cddfuse_jax.evaluation.page import write_report
from cddfuse_jax.evaluation.scoring import (
    DEFAULT_BASELINES,
    Run,
    SceneScores,
    find_scenes,
    score_scenes,
)
from cddfuse_jax.evaluation.tables import (
    Evaluation,
    published_rows,
    rows_of,
    write_csv,
    write_summary,
)
from cddfuse_jax.files import replacing
from cddfuse_jax.metrics.baselines import known_baselines
from cddfuse_jax.metrics.protocols import PROTOCOLS, protocol_named
from cddfuse_jax.metrics.published import PUBLISHED, published_name


def evaluate(
    runs: list[Run],
    infrared: Path,
    visible: Path,
    out: Path,
    protocol: str = "release",
    baselines: tuple[str, ...] = DEFAULT_BASELINES,
    dataset: str | None = None,
    workers: int | None = None,
) -> Evaluation:
    """Score runs on the scenes all of them have; write scores.csv, summary.json, report.html.

    Leftovers, files that cannot be scored and flat images are each told in one line on standard
    error. A scene that fails in any run is in no row's mean, so that all rows are over the same
    images. Nothing is written before all is scored, and then all three files or none.

    Several processes (`processes.joined`) score a share each and all return the whole; the first
    tells and writes.

    Args:
        runs: what to score; names differ.
        infrared: folder of the infrared images (for medical pairs: of CT, PET or SPECT).
        visible: folder of the visible images (for medical pairs: of MRI).
        out: folder of the report, made if missing.
        protocol: a name in `PROTOCOLS`.
        baselines: names in `BASELINES`.
        dataset: a name in `PUBLISHED`, whose published rows are shown; or None.
        workers: processes; None for one per CPU. See `score_scenes`.

    Raises:
        InputError: an unknown name, a missing folder, or nothing that could be scored.
    """
    chosen, baselines = protocol_named(protocol), known_baselines(baselines)
    dataset = published_name(dataset) if dataset else None
    _check_runs(runs)
    if out.exists() and not out.is_dir():
        raise InputError(f"--out is a folder for the report, {out} is a file; give another name")
    selection = find_scenes(runs, infrared, visible)
    for folder, names in selection.leftovers.items():
        report(f"not scored, not in all folders: {len(names)} of {folder}: {_some(names)}")
    processes.check_same([scene.pair.name for scene in selection.scenes], "images")
    own = score_scenes(processes.share(selection.scenes), protocol, baselines, workers)
    shares = processes.gather(own)
    outcomes = [SceneScores(*outcome) for outcome in processes.joint(shares)]
    errors = [line for outcome in outcomes for line in outcome.errors]
    for line in errors:
        report(f"not scored: {line}")
    scored = [outcome for outcome in outcomes if not outcome.errors]
    if not scored:
        raise InputError(f"none of {len(outcomes)} images could be scored, see above")
    notes = [line for outcome in scored for line in outcome.notes]
    notes += _remarks(runs, scored, protocol, dataset)
    for line in notes:
        report(f"note: {line}")
    names = {outcome.name for outcome in scored}
    evaluation = Evaluation(
        protocol=chosen,
        dataset=dataset,
        runs=runs,
        scenes=[scene for scene in selection.scenes if scene.pair.name in names],
        rows=rows_of(runs, scored) + (published_rows(dataset, chosen) if dataset else []),
        leftovers=selection.leftovers,
        errors=errors,
        notes=notes,
    )
    if not processes.is_first():
        return evaluation
    # All three or none, so that a report never stands beside another one's scores.
    with (
        replacing(out / "scores.csv") as scores,
        replacing(out / "summary.json") as summary,
        replacing(out / "report.html") as page,
    ):
        write_csv(scores, evaluation)
        write_summary(summary, evaluation)
        write_report(page, evaluation)
    return evaluation


def _check_runs(runs: list[Run]) -> None:
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"runs need names that differ, two are {name!r}; give NAME=DIR")
    folders = [folder.resolve() for run in runs for folder in run.folders]
    for folder in folders:
        if folders.count(folder) > 1:
            raise InputError(f"each folder of fused images is given once, {folder} is twice")


def _remarks(
    runs: list[Run], scored: list[SceneScores], protocol: str, dataset: str | None
) -> list[str]:
    """Say what a reader must know to compare the rows."""
    remarks = []
    if dataset and len(scored) != (pairs := PUBLISHED[dataset].pairs):
        remarks.append(
            f"the rows published for {dataset} are over {pairs} images, here are {len(scored)}"
        )
    if dataset and PROTOCOLS[protocol].changes:
        remarks.append(
            "published rows follow the protocol release, on stretched images; the scores that "
            f"{protocol} changes are left out of them"
        )
    if scored[0].baselines:
        remarks.append(
            "baselines are scored as they are; the release's fuse program stretches every image "
            "to 0-255, which alone raises SD (baselines with that: max-stretched, mean-stretched)"
        )
    for index, each in enumerate(runs):
        if any(scene.coloured[index] for scene in scored):
            remarks.append(
                f"{each.name} has images in colour, of which the luma was scored, rounded again; "
                "the release's protocol is grey: fuse with --color none"
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
