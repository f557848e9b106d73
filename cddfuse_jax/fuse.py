"""Fuse pairs of images, in colour where one of them has colour.

    python -m cddfuse_jax.fuse --vi FILE_OR_DIR --ir FILE_OR_DIR --out DIR

Run it with --help for every option.
"""

import argparse
import contextlib
import textwrap
from fractions import Fraction
from pathlib import Path

from cddfuse_jax.console import ArgumentParser, add_overwrite, report, report_error, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.evaluation import PROTOCOL_NAMES, REPORT_FILES
from cddfuse_jax.files import alone_in, check_outputs
from cddfuse_jax.fusing.jobs import Files, Jobs, Treatment, find_jobs
from cddfuse_jax.images import pair_rules
from cddfuse_jax.images.colour import COLORS
from cddfuse_jax.images.image_files import READ
from cddfuse_jax.images.output_files import FORMATS, QUALITY, format_for, is_video
from cddfuse_jax.images.pair_photos import RESIZES, looks_medical
from cddfuse_jax.images.ranges import parse_range
from cddfuse_jax.images.rig import HELP, OPTION, Rig, load_rig
from cddfuse_jax.models import PRECISIONS, RESIDUALS
from cddfuse_jax.weights import shipped


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m cddfuse_jax.fuse",
        description="Fuse pairs of images or videos.\n\nIn: "
        f"{READ.replace(' and', ',')}, DICOM, NIfTI, video.\nOut: PNG, JPEG, TIFF, video.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=textwrap.dedent(
            """\
            examples:
              a folder of pairs       --vi visible/ --ir infrared/ --out fused/
              one pair                --vi a.jpg --ir b.png --out fused.png
              one mixed folder        --vi all/ --ir all/ --pair '{}_V' '{}_T' --out fused/
              the paper's scores      --vi vi/ --ir ir/ --out out/ --evaluate
              PET on MRI, in colour   --vi MRI/ --ir PET/ --out out/ --weights mif
              two videos              --vi a.mp4 --ir b.mp4 --out fused.mp4
              frames to a video       --vi vi/ --ir ir/ --out fused.mp4 --fps 25

            weights in the package:
            WEIGHTS

            Images of two folders are paired by name without ending, or by --pair. The luma of both
            is fused, stretched to 0-255, and given the chroma of the one that has colour. A pair
            that cannot be fused gets an error line, and the others are fused. A video keeps rate
            and sound of the visible one, and its stretch follows the light slowly, so that it does
            not flicker; frames are matched by their order. Nothing is overwritten unless asked for.

            The pairs of folders are spread over all devices. Several processes, on one machine or
            many, share a folder by --shard. A video stays on one device.

            Exit code: 0 all fused, 1 some failed, 2 nothing was started, 130 interrupted (what is
            written is whole).
            """
        ).replace("WEIGHTS", shipped.table()),
    )
    add = parser.add_argument
    shipped.add_option(parser)
    add("--best", action="store_true",
        help="of a training run's checkpoints, take the one with the lowest loss on held-out "
        "pairs; default: the newest")  # fmt: skip
    add("--vi", required=True, type=Path, metavar="PATH", help="visible (or MRI): file or folder")
    add("--ir", required=True, type=Path, metavar="PATH", help="infrared (or CT, PET, SPECT)")
    add("--out", required=True, type=Path, metavar="PATH",
        help="folder that takes NAME.png; also a .png, .jpg or .tif file for one pair; or a "
        "video")  # fmt: skip
    add("--format", choices=FORMATS,
        help="how images are stored; png16 and tif16 have 16 bits; default: by the ending of "
        "--out, PNG for a folder")  # fmt: skip
    add("--quality", type=_percentage, default=QUALITY, metavar="N",
        help="of JPEG files, 1 to 100; default: %(default)s")  # fmt: skip
    add_overwrite(parser)
    add("--skip-existing", action="store_true",
        help="leave out pairs whose output is there: an interrupted folder goes on")  # fmt: skip
    add("--log", type=Path, metavar="FILE",
        help="append a line of JSON for each pair: what was fused, from what, with which weights, "
        "how long it took, or why it failed")  # fmt: skip
    add("--watch", action="store_true",
        help="then look on for pairs that come into the folders, until Ctrl-C")  # fmt: skip
    add("--shard", type=_shard, default=(0, 1), metavar="I/N",
        help="fuse only every N-th pair, from the I-th (0 to N-1): start N such processes, which "
        "need not know of each other; score afterwards, by evaluate")  # fmt: skip
    pair_rules.add_option(parser)
    add("--color", choices=COLORS,
        help="whose colour the result has: auto (the visible image's, or the infrared one's where "
        "only that is coloured), visible, infrared, or none for the release's grey protocol; a "
        "grey image gives a grey result; default: auto, with --evaluate none")  # fmt: skip
    add("--range", default="auto", metavar="RANGE",
        help="what becomes black and white of grey images deeper than 8 bits: percentiles LOW,HIGH "
        "or stored values LOW:HIGH; auto is 0.1,99.9 without margins and dead pixels")  # fmt: skip
    add("--range-vi", metavar="RANGE", help="the same for the visible side alone, of any depth")
    add("--range-ir", metavar="RANGE", help="the same for the infrared side: CT of brain 0:80")
    add("--slice", type=int, metavar="K",
        help="which slice of DICOM and NIfTI, or page of TIFF, from 0")  # fmt: skip
    add("--resize", choices=RESIZES,
        help="where the sizes of a pair differ, resample this one to the size of the other; "
        "without it such a pair is an error")  # fmt: skip
    add(OPTION, type=Path, metavar="FILE", help=HELP + ", and both are cropped to what both see")
    add("--fill", action="store_true",
        help="with --registration, do not crop: where only the visible camera sees, keep its "
        "image")  # fmt: skip
    add("--align", action="store_true",
        help="where the infrared image is certainly shifted against the visible one, undo it: both "
        "are cropped to the pixels that they share, and a note says so")  # fmt: skip
    add("--no-stretch", action="store_true",
        help="leave out the release's stretch of every fused image to 0-255, as the protocol "
        "corrected expects")  # fmt: skip
    add("--residual", choices=RESIDUALS,
        help="what the decoder adds to its output: the visible image (infrared-visible pairs), the "
        "sum of both (medical pairs with infrared-visible weights), none (medical weights); "
        "default: as the weights were trained if that is recorded, else visible")  # fmt: skip
    add("--max-memory", metavar="SIZE",
        help="what the program may hold, as 8GiB; larger images are fused in strips, with the same "
        "result; default: half of the memory that is free")  # fmt: skip
    add("--half-strips", action="store_true",
        help="have strips keep features in float16: half the memory, and before rounding off by a "
        "fifth of a grey level of 255")  # fmt: skip
    add("--precision", choices=PRECISIONS, default="float32",
        help="float32: the backend's own (exact on CPUs, TF32 on NVIDIA GPUs, bfloat16 products on "
        "TPUs); highest: exact everywhere; bf16: features in bfloat16, an approximation for "
        "accelerators, no faster on CPUs; default: %(default)s")  # fmt: skip
    video = parser.add_argument_group("video (extra [video])")
    video.add_argument("--fps", type=_rate, metavar="N",
        help="frames per second of folders of frames, such as 25 or 30000/1001; default: the other "
        "video's")  # fmt: skip
    video.add_argument("--sync", action="store_true",
        help="pair frames by time: each visible one with the infrared one nearest to it; without "
        "it, a different number or rate of frames is an error")  # fmt: skip
    scoring = parser.add_argument_group("scoring")
    scoring.add_argument("--evaluate", action="store_true",
        help="then score what was fused, as python -m cddfuse_jax.evaluate does, into OUT/report; "
        "scores are of grey images, so this fuses with --color none and refuses another one, "
        "and takes the files as they are: no --range, no --resize")  # fmt: skip
    scoring.add_argument("--protocol", default="release", choices=PROTOCOL_NAMES,
        help="default: %(default)s")  # fmt: skip
    scoring.add_argument("--name", help="what to call the row; default: the name of the weights")
    scoring.add_argument("--dataset", help="show what is published for it, such as TNO")
    return parser


def _percentage(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= 100):
        raise argparse.ArgumentTypeError(f"a quality is 1 to 100, got {text}")
    return int(text)


def _shard(text: str) -> tuple[int, int]:
    first, _, count = text.partition("/")
    if not (first.isdigit() and count.isdigit() and int(first) < int(count)):
        raise argparse.ArgumentTypeError(f"a shard is I/N with I from 0 to N-1, got {text}")
    return int(first), int(count)


def _rate(text: str) -> Fraction:
    try:
        # Without exponents, and short: 1e99999999 would be a number of as many digits.
        rate = Fraction(text if len(text) <= 20 and "e" not in text.lower() else "0")
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise argparse.ArgumentTypeError(f"a rate is above 0, such as 25 or 30000/1001, got {text}")
    return rate


def main() -> int:
    """Read the arguments and fuse."""
    given = _parser().parse_args()
    rule = pair_rules.parse(given.pair)
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
    if (given.sync or given.fps) and not video:
        raise InputError("--sync and --fps are for videos; name --out a video, such as fused.mp4")

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
        from cddfuse_jax.fusing.video import fuse_video
        from cddfuse_jax.fusing.video_files import open_videos

        frames = open_videos(given.vi, given.ir, given.out, given.fps, given.sync, given.overwrite)
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
    )
    if fuser.ema:
        report(f"note: fusing with the running mean of the run's params (ema={fuser.ema})")
    if video:
        count = fuse_video(fuser, *frames, given.out, given.sync, given.resize)
        print(f"{given.out}: {count} frames at {float(frames[0].rate):.5g} per second")
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
        rule=pair_rules.parse(given.pair),
        rig=rig,
    )
    print(terminal_table(evaluation))
    print("report:", given.out / "report" / "report.html")
    return len(evaluation.errors)


if __name__ == "__main__":
    run(main)
