"""The options of ``fuse``: what to fuse, from what values, in what colour, and into what file."""

import argparse
import functools
import textwrap
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from cddfuse_jax.console import ArgumentParser, add_overwrite
from cddfuse_jax.errors import InputError
from cddfuse_jax.images.colour import COLORS
from cddfuse_jax.images.medical_files import ALL
from cddfuse_jax.images.not_read import READ
from cddfuse_jax.images.output_files import FORMATS, QUALITY, is_video
from cddfuse_jax.images.ranges import parse_range
from cddfuse_jax.models import PRECISIONS, RESIDUALS
from cddfuse_jax.pairs import RESIZES, rules
from cddfuse_jax.rigs import HELP, MODELS, MODELS_HELP, OPTION
from cddfuse_jax.weights import shipped


def parse() -> argparse.Namespace:
    """Read the arguments.

    Raises:
        InputError: some of them exclude each other.
    """
    given = parser_of_fuse().parse_args()
    sides = ("registration", given.registration), ("points", given.points)
    fixed = [f"--{name}" for name, on in (*sides, ("slice all", given.slice == ALL)) if on]
    if fixed and (given.resize or given.align or fixed[1:]):
        others = ", ".join([*fixed[1:], "--resize", "--align"])
        raise InputError(f"{fixed[0]} already fixes size and shift: leave out {others}")
    if given.fill and not (given.registration or given.points):
        raise InputError("--fill is for --registration and --points; leave it out, or give one")
    if given.watch and given.points:
        raise InputError("--watch does not wait for --points; leave one of them out")
    if given.model and not given.points:
        raise InputError("--model is for --points; a rig's is chosen by cddfuse register --model")
    images_only = ("format", "log", "align", "watch", "skip_existing", "slice", "shard", "points")
    for option in images_only if is_for_video(given) else ():
        if getattr(given, option) not in (None, False, (0, 1)):
            raise InputError(f"--{option.replace('_', '-')} is for images; leave it out for videos")
    if not is_for_video(given) and (given.sync or given.fps or given.offset is not None):
        raise InputError(
            "--sync, --offset and --fps are for videos; name --out a video, such as fused.mp4"
        )
    return given


def is_for_video(given: argparse.Namespace) -> bool:
    """Return whether one of the paths names a video."""
    return any(is_video(path) for path in (given.vi, given.ir, given.out))


def parser_of_fuse() -> ArgumentParser:
    """Return the parser."""
    parser = ArgumentParser(
        prog="python -m cddfuse_jax.fuse",
        description="Fuse pairs of images or videos.\n\nIn: "
        f"{READ.replace(' and', ',')}, DICOM, NIfTI, video.\nOut: PNG, JPEG, TIFF, NIfTI, video.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=textwrap.dedent(
            """\
            examples:
              a folder of pairs       --vi visible/ --ir infrared/ --out fused/
              one pair                --vi a.jpg --ir b.png --out fused.png
              one mixed folder        --vi all/ --ir all/ --pair '{}_V' '{}_T' --out fused/
              PET on MRI, in colour   --vi MRI/ --ir PET/ --out out/ --weights mif
              two videos              --vi a.mp4 --ir b.mp4 --out fused.mp4
              frames to a video       --vi vi/ --ir ir/ --out fused.mp4 --fps 25

            weights in the package:
            WEIGHTS

            Images of two folders are paired by name without ending, or by --pair. The luma of both
            is fused, stretched to 0-255, and given the chroma of the one that has colour. A pair
            that cannot be fused gets an error line, and the others are fused. A video keeps times
            and sound of the visible one, and its stretch follows the light slowly, so that it does
            not flicker; frames of one time go together. Nothing is overwritten unless asked for.

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
    add("--strip-metadata", action="store_true",
        help="leave out what is kept of the visible file: place and time of its EXIF data, or a "
        "map's georeference")  # fmt: skip
    add_overwrite(parser)
    add("--skip-existing", action="store_true",
        help="leave out pairs whose output is there: an interrupted folder goes on")  # fmt: skip
    add("--log", type=Path, metavar="FILE",
        help="append a line of JSON for each pair: what was fused, from what, with which weights, "
        "how long it took, or why it failed")  # fmt: skip
    add("--watch", action="store_true",
        help="then go on looking for pairs that come into the folders, until Ctrl-C")  # fmt: skip
    add("--shard", type=_shard, default=(0, 1), metavar="I/N",
        help="fuse only every N-th pair, from the I-th (0 to N-1): start N such processes, which "
        "need not know of each other")  # fmt: skip
    rules.add_option(parser)
    add("--color", choices=COLORS, default="auto",
        help="whose colour the result has: auto (the visible image's, or the infrared one's where "
        "only that is coloured), visible, infrared, or none for the release's grey protocol; a "
        "grey image gives a grey result; default: %(default)s")  # fmt: skip
    add("--range", type=parse_range, default="auto", metavar="RANGE",
        help="what becomes black and white of grey images deeper than 8 bits: percentiles LOW,HIGH "
        "or stored values LOW:HIGH; auto is 0.1,99.9 without margins and dead pixels")  # fmt: skip
    add("--range-vi", type=functools.partial(parse_range, option="--range-vi"), metavar="RANGE",
        help="the same for the visible side alone, of any depth")  # fmt: skip
    add("--range-ir", type=functools.partial(parse_range, option="--range-ir"), metavar="RANGE",
        help="the same for the infrared side: CT of brain 0:80")  # fmt: skip
    add("--slice", type=_slice, metavar="K",
        help="which slice of DICOM and NIfTI, or page of TIFF, from 0; all makes one volume of two "
        "of NIfTI (--out x.nii.gz or a folder), with one range and stretch")  # fmt: skip
    add("--resize", choices=RESIZES,
        help="where the sizes of a pair differ, resample this one to the size of the other; "
        "without it such a pair is an error")  # fmt: skip
    add(OPTION, type=Path, metavar="FILE", help=HELP + ", and both are cropped to what both see")
    add("--points", type=Path, metavar="DIR",
        help="register each pair by matches of any matcher, in DIR/NAME.txt, .csv, .npy or .npz: x "
        "and y in the visible image, x and y in the infrared one, a line each; RANSAC leaves out "
        "wrong ones")  # fmt: skip
    add("--model", choices=MODELS,
        help=f"what is fitted to --points; {MODELS_HELP}; default: affine, or homography where a "
        "fifth more of the matches agree with it")  # fmt: skip
    add("--fill", action="store_true",
        help="with --registration or --points, do not crop: where only the visible camera sees, "
        "keep its image")  # fmt: skip
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
    add("--max-memory", type=_size, metavar="SIZE",
        help="what the program may hold, as 8GiB; larger images are fused in strips, with the same "
        "result; default: half of the memory that is free")  # fmt: skip
    add("--half-strips", action="store_true",
        help="have strips keep features in float16: half the memory, an error of up to a "
        "fifth of a grey level of 255")  # fmt: skip
    add("--precision", choices=PRECISIONS, default="float32",
        help="float32: the backend's (exact on CPUs, TF32 on NVIDIA GPUs, bfloat16 products on "
        "TPUs); highest: exact everywhere; bf16: features in bfloat16, an approximation for "
        "accelerators, no faster on CPUs; default: %(default)s")  # fmt: skip
    video = parser.add_argument_group("video (extra [video])")
    video.add_argument("--fps", type=_rate, metavar="N",
        help="frames per second of folders of frames, such as 25 or 30000/1001; default: the other "
        "video's")  # fmt: skip
    video.add_argument("--sync", action="store_true",
        help="pair frames by the times in both files: each visible one with the infrared one "
        "nearest to it; without it, frames of other times are an error")  # fmt: skip
    video.add_argument("--offset", type=_seconds, metavar="SECONDS",
        help="add to the infrared file's times, then pair as --sync does")  # fmt: skip
    return parser


def _seconds(text: str) -> Fraction:
    try:
        return Fraction(Decimal(text if len(text) <= 20 and "e" not in text.lower() else "x"))
    except (ValueError, ArithmeticError):
        raise argparse.ArgumentTypeError(f"an offset is a number of seconds, got {text}") from None


def _size(text: str) -> int:
    from cddfuse_jax.fusing.memory import parse_size  # imports JAX

    return parse_size(text)


def _slice(text: str) -> int:
    if text != "all" and not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"a slice is a number from 0, or all, got {text}")
    return ALL if text == "all" else int(text)


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
