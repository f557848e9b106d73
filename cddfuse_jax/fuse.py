"""Fuse pairs of images, in colour where one of them has colour.

    python -m cddfuse_jax.fuse --vi FILE_OR_DIR --ir FILE_OR_DIR --out DIR

Run it with --help for every option.
"""

import argparse
import contextlib
from pathlib import Path

from cddfuse_jax.console import report, report_error, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.evaluation import PROTOCOL_NAMES, REPORT_FILES
from cddfuse_jax.files import alone_in, check_outputs
from cddfuse_jax.fusing.jobs import Files, Jobs, Treatment, find_jobs
from cddfuse_jax.fusing.options import parser_of_fuse
from cddfuse_jax.images.output_files import FORMATS, format_for, is_video
from cddfuse_jax.images.ranges import parse_range
from cddfuse_jax.pairs import rules
from cddfuse_jax.pairs.read import looks_medical
from cddfuse_jax.rigs.rig import Rig, load_rig
from cddfuse_jax.weights import shipped


def _arguments() -> argparse.Namespace:
    parser = parser_of_fuse()
    scoring = parser.add_argument_group("scoring")
    scoring.add_argument("--evaluate", action="store_true",
        help="then score what was fused, as python -m cddfuse_jax.evaluate does, into OUT/report; "
        "scores are of grey images, so this fuses with --color none and refuses another one, "
        "and takes the files as they are: no --range, no --resize")  # fmt: skip
    scoring.add_argument("--protocol", default="release", choices=PROTOCOL_NAMES,
        help="default: %(default)s")  # fmt: skip
    scoring.add_argument("--name", help="what to call the row; default: the name of the weights")
    scoring.add_argument("--dataset", help="show what is published for it, such as TNO")
    return parser.parse_args()


def main() -> int:
    """Read the arguments and fuse."""
    given = _arguments()
    rule = rules.parse(given.pair)
    both = parse_range(given.range)
    for option in ("--range-vi", "--range-ir"):
        if (text := getattr(given, option[2:].replace("-", "_"))) is not None:
            parse_range(text, option)
    video = any(is_video(path) for path in (given.vi, given.ir, given.out))
    if given.evaluate:
        _check_evaluation(given, video)
        check_outputs([given.out / "report" / n for n in REPORT_FILES], (), given.overwrite)
    if video:
        _check_video(given)
    elif given.evaluate and (given.watch or given.shard != (0, 1)):
        raise InputError("--watch and --shard fuse a part; score by evaluate when all is fused")
    if given.registration and (given.resize or given.align):
        raise InputError("--registration says all; leave out --resize and --align")
    if given.fill and not given.registration:
        raise InputError("--fill is for --registration; leave it out, or measure a registration")
    rig = load_rig(given.registration, given.fill) if given.registration else None
    if (given.sync or given.fps or given.offset is not None) and not video:
        raise InputError(
            "--sync, --offset and --fps are for videos; name --out a video, such as fused.mp4"
        )

    treatment = Treatment(
        given.resize,
        given.align,
        format_for(given.out, given.format),
        given.quality,
        given.slice,
    )
    files = Files(
        given.vi, given.ir, given.out, rule, given.overwrite, given.skip_existing, given.shard
    )
    jobs = None if video or given.watch else find_jobs(files, treatment)
    if jobs and not jobs.todo:
        return _summary(given, jobs, 0)

    import jax

    from cddfuse_jax.devices import prepare
    from cddfuse_jax.fusing.fuser import Fuser
    from cddfuse_jax.fusing.records import recording
    from cddfuse_jax.weights.any_format import best_of

    if video:
        from cddfuse_jax.fusing.frame_pairs import open_videos
        from cddfuse_jax.fusing.video import fuse_video

        fit = rig or given.resize
        timing = given.fps, given.sync, given.offset
        frames = open_videos(given.vi, given.ir, given.out, *timing, fit, rule, given.overwrite)
    prepare()
    if jax.default_backend() != "cpu":
        report("note: an image size that comes for the first time compiles for ten seconds or more")
    fuser = Fuser(
        best_of(given.weights) if given.best else given.weights,
        given.residual,
        given.color or ("none" if given.evaluate else "auto"),
        not given.no_stretch,
        both,
        given.max_memory,
        given.precision,
        half_strips=given.half_strips,
        visible_range=given.range_vi,
        infrared_range=given.range_ir,
        registration=rig,
        own=given.own,
    )
    if fuser.ema:
        report(f"note: fusing with the running mean of the run's params (ema={fuser.ema})")
    if video:
        count = fuse_video(fuser, frames, given.out, given.resize)
        print(f"{given.out}: {count} frames at {float(frames.visible.rate):.5g} per second")
        return 0
    with recording(given.log) as record:
        if given.watch:
            from cddfuse_jax.fusing.watching import watch

            for outcome in watch(fuser, files, treatment):
                record(fuser, outcome)
                if not outcome.error:
                    print(f"{outcome.out}: fused in {outcome.seconds:.1f} s", flush=True)
        assert jobs is not None  # watching ends by Ctrl-C alone
        if _is_for_cameras(fuser) and all(looks_medical(job.pair) for job in jobs.todo):
            report("note: by their names these are medical pairs; --weights mif is made for them")
        for line in jobs.alone:
            report_error(line)
        fused = 0
        # Several processes with a --shard each may share the folder.
        alone = given.shard == (0, 1) and jobs.todo[0].out != given.out
        with alone_in(given.out, "fuse") if alone else contextlib.nullcontext():
            for outcome in fuser.fuse(jobs.todo, treatment):
                record(fuser, outcome)
                fused += outcome.error is None
    failed = _summary(given, jobs, fused)
    if given.evaluate and fused + jobs.skipped:
        failed += _evaluate(given, rig)
    return 1 if failed else 0


def _summary(given: argparse.Namespace, jobs: Jobs, fused: int) -> int:
    """Print how many pairs were fused, and return how many were not."""
    failed = len(jobs.todo) - fused + len(jobs.alone)
    skipped = f"{jobs.skipped} skipped, " if given.skip_existing else ""
    print(f"{given.out}: {fused} fused, {skipped}{failed} failed")
    return failed


def _is_for_cameras(fuser) -> bool:
    weights = fuser.weights.split()[0]
    return weights in shipped.SHIPPED and weights != "mif" and fuser.residual == "visible"


def _check_evaluation(given: argparse.Namespace, video: bool) -> None:
    if video:
        raise InputError("--evaluate scores folders of images; leave it out for videos")
    if given.vi.is_file():
        raise InputError("--evaluate scores folders; give folders as --vi and --ir")
    if given.color not in (None, "none"):
        raise InputError(
            f"--evaluate scores grey images, got --color {given.color}; score with --color none, "
            "and fuse in colour to another --out"
        )
    ranges = (given.range != "auto", given.range_vi, given.range_ir, given.slice is not None)
    if any(ranges) or given.resize or given.align or given.fill:
        raise InputError(
            "--evaluate scores files as they are; leave out --range, --slice, --resize, --align "
            "and --fill"
        )
    if given.format and FORMATS[given.format] != FORMATS["png"]:
        raise InputError(
            f"--evaluate scores 8-bit PNG, as the release does, got --format {given.format}"
        )


def _check_video(given: argparse.Namespace) -> None:
    for option in ("format", "log", "align", "watch", "skip_existing", "slice", "shard"):
        if getattr(given, option) not in (None, False, (0, 1)):
            raise InputError(f"--{option.replace('_', '-')} is for images; leave it out for videos")


def _evaluate(given: argparse.Namespace, rig: Rig | None) -> int:
    """Score the folder of fused images and return the number of failures."""
    from cddfuse_jax.evaluation.evaluating import evaluate
    from cddfuse_jax.evaluation.matching import Run
    from cddfuse_jax.evaluation.tables import terminal_table

    evaluation = evaluate(
        [Run(given.name or Path(given.weights).resolve().stem, (given.out,))],
        given.vi,
        given.ir,
        given.out / "report",
        given.protocol,
        dataset=given.dataset,
        overwrite=given.overwrite,
        rule=rules.parse(given.pair),
        rig=rig,
    )
    print(terminal_table(evaluation))
    print("report:", given.out / "report" / "report.html")
    return len(evaluation.errors)


if __name__ == "__main__":
    run(main)
