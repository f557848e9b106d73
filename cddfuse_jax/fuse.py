"""Fuse pairs of images, in colour where one of them has colour.

    python -m cddfuse_jax.fuse --vi FILE_OR_DIR --ir FILE_OR_DIR --out DIR

Run it with --help for every option.
"""

import argparse
import contextlib
import time

from cddfuse_jax.console import report, report_error, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import alone_in
from cddfuse_jax.fusing.jobs import Files, Jobs, Treatment, find_jobs
from cddfuse_jax.fusing.options import is_for_video, parse
from cddfuse_jax.images.medical_files import ALL
from cddfuse_jax.images.output_files import format_for
from cddfuse_jax.pairs import rules
from cddfuse_jax.pairs.matches import Matches


def main() -> int:
    """Read the arguments and fuse."""
    given = parse()
    if is_for_video(given):
        return fuse_videos(given)
    return watch_folders(given) if given.watch else fuse_images(given)


def fuse_images(given: argparse.Namespace) -> int:
    """Fuse a pair or folders of pairs; return 1 if some failed."""
    files, treatment = _files(given), _treatment(given)
    jobs = find_jobs(files, treatment)
    for line in jobs.notes:
        report(f"note: {line}")
    for line in jobs.alone:
        report_error(line)
    if not jobs.todo:
        return _ended(given, jobs, 0)
    fuser = _fuser(given)

    from cddfuse_jax.fusing.folder import reported
    from cddfuse_jax.fusing.records import recording

    # Several processes with a --shard each may share the folder.
    alone = given.shard == (0, 1) and jobs.todo[0].out != given.out
    fused, started = 0, time.monotonic()
    with (
        recording(given.log) as record,
        alone_in(given.out, "fuse") if alone else contextlib.nullcontext(),
    ):
        for outcome in reported(fuser.fuse(jobs.todo, treatment), len(jobs.todo)):
            record(fuser, outcome)
            fused += outcome.error is None
    return _ended(given, jobs, fused, time.monotonic() - started)


def watch_folders(given: argparse.Namespace) -> int:
    """Fuse pairs as they come into two folders, until Ctrl-C."""
    if given.shard != (0, 1):
        raise InputError("--watch fuses all pairs that come; leave out --shard")
    files, treatment = _files(given), _treatment(given)
    fuser = _fuser(given)

    from cddfuse_jax.fusing.records import recording
    from cddfuse_jax.fusing.watching import watch

    with recording(given.log) as record:
        for outcome in watch(fuser, files, treatment):
            record(fuser, outcome)
            if not outcome.error:
                print(f"{outcome.out}: fused in {outcome.seconds:.1f} s", flush=True)
    return 0


def fuse_videos(given: argparse.Namespace) -> int:
    """Fuse two videos, or folders of frames, to a video."""
    from cddfuse_jax.fusing.frame_pairs import open_videos
    from cddfuse_jax.fusing.video import fuse_video
    from cddfuse_jax.rigs.rig import load_rig

    rig = load_rig(given.registration, given.fill) if given.registration else None
    timing, rule = (given.fps, given.sync, given.offset), rules.parse(given.pair)
    fit = rig or given.resize
    frames = open_videos(given.vi, given.ir, given.out, *timing, fit, rule, given.overwrite)
    count = fuse_video(_fuser(given), frames, given.out, given.resize)
    print(f"{given.out}: {count} frames at {float(frames.visible.rate):.5g} per second")
    return 0


def _files(given: argparse.Namespace) -> Files:
    rule = rules.parse(given.pair)
    return Files(
        given.vi, given.ir, given.out, rule, given.overwrite, given.skip_existing, given.shard
    )


def _treatment(given: argparse.Namespace) -> Treatment:
    volume = given.slice == ALL
    as_format = format_for(given.out, given.format, volume)
    matches = Matches(given.points, given.model, given.fill) if given.points else None
    changes = given.resize, given.align, as_format, given.quality
    return Treatment(*changes, given.slice, given.strip_metadata, matches)


def _fuser(given: argparse.Namespace):
    import jax

    from cddfuse_jax.devices import prepare
    from cddfuse_jax.fusing.fuser import Fuser
    from cddfuse_jax.weights.any_format import best_of

    prepare()
    if jax.default_backend() != "cpu":
        report("note: an image size that comes for the first time compiles for ten seconds or more")
    fuser = Fuser(
        best_of(given.weights) if given.best else given.weights,
        given.residual,
        given.color,
        not given.no_stretch,
        given.range,
        visible_range=given.range_vi,
        infrared_range=given.range_ir,
        registration=given.registration,
        fill=given.fill,
        own=given.own,
        max_memory=given.max_memory,
        half_strips=given.half_strips,
        precision=given.precision,
    )
    if fuser.ema:
        report(f"note: fusing with the running mean of the run's params (ema={fuser.ema})")
    return fuser


def _ended(given: argparse.Namespace, jobs: Jobs, fused: int, seconds: float = 0) -> int:
    """Print how many pairs were fused; return 1 if some were not, 2 where the only one was not."""
    failed = len(jobs.todo) - fused + len(jobs.alone)
    skipped = f"{jobs.skipped} skipped, " if given.skip_existing else ""
    speed = f", {fused / seconds:.3g} pairs per second" if fused > 1 else ""
    print(f"{given.out}: {fused} fused, {skipped}{failed} failed{speed}")
    if failed and jobs.todo and jobs.todo[0].out == given.out:
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    run(main)
