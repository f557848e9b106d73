"""The command's options and what they mean together."""

import argparse
import textwrap
from pathlib import Path

from cddfuse_jax.console import ArgumentParser, add_overwrite

MSRS = "background car person bike curve 'car stop' guardrail 'colour cone' bump"


def parser(description: str | None) -> ArgumentParser:
    """Return the parser of `cddfuse_jax.downstream`."""
    whole = ArgumentParser(
        "python -m cddfuse_jax.downstream",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _segment(commands, whole.prog)
    _score(commands, whole.prog)
    _boxes(commands, whole.prog)
    _export(commands, whole.prog)
    return whole


def _segment(commands, prog: str) -> None:
    one = commands.add_parser(
        "segment",
        prog=f"{prog} segment",
        help="train and score the same segmenter on each of several inputs",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Train and score the same segmenter on each of several inputs.",
        epilog=textwrap.dedent(
            """\
            Every input is given as three channels, grey ones repeated, standardised by the means
            and deviations of its training images, so that all train the same network at the same
            budget and from the same seeds. Written into OUT after each training:
              results.json    what was trained, and the confusions of every image
              predictions/    label maps, as INPUT/seed-N/NAME.png
              table.md, table.csv, table.tex, report.html
            The same command again goes on where it was stopped.
            """
        ),
    )
    add = one.add_argument
    add("--vi", required=True, type=Path, metavar="DIR", help="visible images")
    add("--ir", required=True, type=Path, metavar="DIR", help="infrared images")
    add("--labels", required=True, type=Path, metavar="DIR", help="label maps, of the same names")
    add("--train", required=True, type=Path, metavar="FILE", help="names to train on, one a line")
    add("--test", required=True, type=Path, metavar="FILE", help="names to test on")
    add("--input", dest="inputs", nargs="+", action="extend", metavar="NAME[=DIR]",
        help="visible, infrared, mean, max (of both), or NAME=DIR with a folder of fused images; "
        "default: the first four")  # fmt: skip
    add("--out", required=True, type=Path, metavar="DIR", help="results, predictions, tables, page")
    add("--seeds", nargs="+", type=_natural, default=[0, 1, 2], metavar="N",
        help="one training each; default: 0 1 2")  # fmt: skip
    add("--scale", type=_positive, default=2, metavar="N",
        help="show images at 1/N of the labels' size; default: 2. Scored at the labels' "
        "own")  # fmt: skip
    add_classes(one)
    add_comparison(one, "visible")
    add("--updates", type=_positive, default=1000, metavar="N", help="default: %(default)s")
    add("--batch", type=_positive, default=8, metavar="N", help="default: %(default)s")
    add("--crop", type=_positive, default=160, metavar="N",
        help="side of the windows trained on, in pixels; default: %(default)s")  # fmt: skip
    add("--rate", type=float, default=2e-3, help="AdamW's; default: %(default)s")
    add("--balance", type=float, default=0.25, metavar="B",
        help="a class weighs its share of the pixels to the power of -B; default: "
        "%(default)s")  # fmt: skip
    add("--width", type=_positive, default=24, metavar="N",
        help="of the network, a multiple of 8; default: %(default)s")  # fmt: skip


def _score(commands, prog: str) -> None:
    one = commands.add_parser(
        "score",
        prog=f"{prog} score",
        help="score what was predicted elsewhere: label maps or boxes",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Score label maps or boxes that were predicted elsewhere, of several methods.",
        epilog=textwrap.dedent(
            """\
            Label maps have the numbers and the size of the true ones, and their names. Boxes are
            COCO's list of results, with the ids of the file of true boxes, or a folder of YOLO's
            text with a score at the end of each line. Written into OUT: table.md, for label maps
            table.csv, table.tex and report.html too.

            Exit code: 0 all done, 1 some images failed and were left out, 2 nothing was started.
            """
        ),
    )
    add = one.add_argument
    true = one.add_mutually_exclusive_group(required=True)
    true.add_argument("--labels", type=Path, metavar="DIR", help="true label maps")
    true.add_argument("--boxes", type=Path, metavar="FILE", help="true boxes, COCO JSON; needs the "
        "extra [downstream]")  # fmt: skip
    add("--pred", required=True, nargs="+", action="extend", metavar="NAME=PATH[,PATH...]",
        help="a method's predictions; of label maps a folder per seed")  # fmt: skip
    add("--out", required=True, type=Path, metavar="DIR", help="tables and page")
    add("--names", type=Path, metavar="FILE", help="images to score, one a line; default: all")
    add("--kept-numbers", action="store_true", help="predicted maps number the kept classes, rest "
        "0, as those of segment do")  # fmt: skip
    add("--images", type=Path, metavar="DIR", help="what the page shows beneath the label maps")
    add_classes(one)
    add_comparison(one, None)
    add_overwrite(one)


def _boxes(commands, prog: str) -> None:
    one = commands.add_parser(
        "boxes",
        prog=f"{prog} boxes",
        help="make COCO JSON of label maps, VOC XML or YOLO text",
        description="Make boxes in COCO's layout out of label maps, or of PASCAL VOC's XML or "
        "YOLO's text. An object of a label map is a set of pixels of one class each of which "
        "touches another by a side or a corner; objects of one class that touch are one.",
    )
    add = one.add_argument
    source = one.add_mutually_exclusive_group(required=True)
    source.add_argument("--labels", type=Path, metavar="DIR", help="label maps")
    source.add_argument("--voc", type=Path, metavar="DIR", help="folder of NAME.xml")
    source.add_argument("--yolo", type=Path, metavar="DIR",
        help="folder of NAME.txt; with --images, and --keep to name its classes")  # fmt: skip
    add("--images", type=Path, metavar="DIR", help="the images that --yolo is about")
    add("--names", type=Path, metavar="FILE", help="label maps to read; default: all")
    add("--least", type=_positive, default=20, metavar="N",
        help="drop objects of label maps of fewer pixels; default: %(default)s")  # fmt: skip
    add("--out", required=True, type=Path, metavar="FILE", help="COCO JSON")
    add_classes(one)
    add_overwrite(one)


def _export(commands, prog: str) -> None:
    one = commands.add_parser(
        "export",
        prog=f"{prog} export",
        help="write fused folders with boxes as a YOLO tree and COCO",
        description="Write folders of images with their boxes as a YOLO tree (images/, labels/, "
        "data.yaml) and as COCO (train.json, val.json), OUT/NAME of each.",
    )
    add = one.add_argument
    add("--input", dest="inputs", required=True, nargs="+", metavar="NAME=DIR",
        help="folders of images: visible, fused, ...")  # fmt: skip
    add("--boxes", required=True, type=Path, metavar="FILE", help="COCO JSON, as boxes writes it")
    add("--train", required=True, type=Path, metavar="FILE", help="names to train on, one a line")
    add("--test", required=True, type=Path, metavar="FILE", help="names to validate on")
    add("--out", required=True, type=Path, metavar="DIR")
    add_overwrite(one)


def add_classes(one: argparse.ArgumentParser) -> None:
    """Add the options that say what the numbers of label maps mean."""
    one.add_argument("--classes", nargs="+", metavar="NAME",
        help=f"what the numbers 0, 1, ... of label maps mean; default: MSRS's, {MSRS}; 255 is no "
        "class, and not scored")  # fmt: skip
    one.add_argument("--keep", nargs="+", default=["car", "person", "bike"], metavar="NAME",
        help="classes to tell apart, all others are one; default: car person bike; all: every "
        "class")  # fmt: skip


def add_comparison(one: argparse.ArgumentParser, reference: str | None) -> None:
    """Add the options that say what is compared with what, on which images."""
    told = reference or "the first"
    one.add_argument("--reference", default=reference, metavar="NAME",
        help=f"what the others are compared with; default: {told}")  # fmt: skip
    one.add_argument("--groups", nargs="+", default=[], metavar="NAME=PATTERN",
        help="scored apart too: images whose names fit, as day='*D' night='*N'")  # fmt: skip


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number
