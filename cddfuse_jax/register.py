"""Measure how the two cameras of a rig see one scene, once for all its pairs.

    python -m cddfuse_jax.register --vi DIR --ir DIR --out rig.json

Run it with --help for every option.
"""

import argparse
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from cddfuse_jax.console import ArgumentParser, add_overwrite, progress, report, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import check_outputs, replacing
from cddfuse_jax.pairs import rules
from cddfuse_jax.pairs.find import Pair, select_pairs
from cddfuse_jax.rigs import MODELS, MODELS_HELP, OPTION, Model

if TYPE_CHECKING:
    import numpy as np

    from cddfuse_jax.rigs.rig import Rig

MOST_PAIRS = 16
MOST_RESIDUAL = 0.05  # of the infrared width: points that are off by more are wrong
SHOWN, SHOWN_WIDTH = 4, 480  # pairs in the image that shows it, pixels of each


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m cddfuse_jax.register",
        description="Measure how the two cameras of a rig see one scene, once for all its pairs.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=textwrap.dedent(
            f"""\
            Give folders of pairs that one rig took: far scenes with edges, 8 or more. The images
            of each side have one size; the two sizes differ as they like. Of more than
            {MOST_PAIRS} pairs, {MOST_PAIRS} are measured, spread evenly. Nothing is written where
            the pairs do not agree.

            Writes OUT (JSON), for {OPTION} of fuse, evaluate, check-data, patches and training,
            and OUT with .png: infrared edges over visible images, stretched and registered.

            A file of points has four numbers a line: x and y of a point in the visible image, x
            and y of the same one in the infrared image, in pixels, 0 0 the middle of the first.

            Exit code: 0 written, 2 not.
            """
        ),
    )
    add = parser.add_argument
    add("--vi", required=True, type=Path, metavar="PATH", help="visible images")
    add("--ir", required=True, type=Path, metavar="PATH", help="infrared images")
    add("--out", required=True, type=Path, metavar="FILE", help="such as rig.json")
    add(
        "--model",
        choices=MODELS,
        default=MODELS[0],
        help=MODELS_HELP + " (needs --points); default: %(default)s",
    )
    add("--points", type=Path, metavar="FILE", help="fit these points, instead of the images")
    rules.add_option(parser)
    add_overwrite(parser)
    return parser


def main() -> int:
    """Read the arguments, measure, and write."""
    given = _parser().parse_args()
    if given.out.suffix.lower() != ".json":
        raise InputError(f"--out is a file such as rig.json, got {given.out}")
    found = select_pairs(given.vi, given.ir, rules.parse(given.pair))
    pairs, notes = found.pairs, [f"note: {note}" for note in found.notes]
    for line in (*notes, *(f"warning: {line}" for line in found.alone)):
        report(line)
    read = [file for pair in pairs for file in pair[1:]] + ([given.points] if given.points else [])
    picture = given.out.with_suffix(".png")
    check_outputs([given.out, picture], read, given.overwrite)

    from cddfuse_jax.rigs.picture import draw
    from cddfuse_jax.rigs.rig import Rig
    from cddfuse_jax.rigs.search import LEAST_PAIRS

    if given.model == "homography" and not given.points:
        raise InputError("a homography is fitted to --points, at least 4; from images give affine")
    if len(pairs) < LEAST_PAIRS and not given.points:
        raise InputError(
            f"a rig is measured from at least {LEAST_PAIRS} pairs that it took, got {len(pairs)}; "
            "give folders of more, or --points"
        )
    images = _read(_spread(pairs, SHOWN if given.points else MOST_PAIRS))
    rig, lines = _from_points(given.points, images, given.model) if given.points else _from_images(
        images, given.model == "affine"
    )  # fmt: skip
    right, down = rig.shift
    about = {
        "model": given.model,
        "visible pixels per infrared pixel": round(rig.scale, 4),
        "infrared mirrored": "left to right, then turned" if rig.mirrored else "no",
        "infrared turned clockwise by degrees": round(rig.angle, 3) + 0.0,  # no -0.0
        "infrared middle right of visible middle": round(right, 2),
        "infrared middle below visible middle": round(down, 2),
        **lines,
    }
    rig = Rig(rig.matrix, rig.visible, rig.infrared, about, str(given.out))
    drawn = draw(rig, images[:: max(1, len(images) // SHOWN)][:SHOWN], SHOWN_WIDTH)
    rig.save(given.out)
    with replacing(picture) as temporary:
        drawn.save(temporary, "PNG")
    for name, value in about.items():
        print(f"{name}: {value}")
    height, width = rig.size
    print(f"both cameras see {width}x{height} of {rig.visible[1]}x{rig.visible[0]} visible pixels")
    print(f"wrote {given.out} and {picture}: look whether the edges on its right lie on things")
    return 0


def _spread(pairs: list[Pair], most: int) -> list[Pair]:
    import numpy as np

    chosen = np.linspace(0, len(pairs) - 1, min(most, len(pairs))).round().astype(int)
    return [pairs[k] for k in chosen]


def _read(pairs: list[Pair]) -> "list[tuple[np.ndarray, np.ndarray]]":
    import numpy as np

    from cddfuse_jax.images.colour import is_coloured
    from cddfuse_jax.pairs.read import read_pair

    images, coloured = [], np.zeros(2, int)
    for pair in progress(pairs, "reading", unit="pair"):
        read = read_pair(pair, any_sizes=True)
        coloured += [bool(is_coloured(pixels)) for pixels in read.pixels]
        images.append(read.grey)
    for side, path in enumerate(("visible", "infrared")):
        sizes = {image[side].shape for image in images}
        if len(sizes) > 1:
            listed = ", ".join(f"{w}x{h}" for h, w in sorted(sizes)[:4])
            raise InputError(f"the {path} images of a rig have one size, got {listed}")
    if coloured[1] > coloured[0] and coloured[0] == 0:
        raise InputError("--ir has colour and --vi has none: are the folders swapped?")
    return images


def _from_images(images, affine: bool) -> "tuple[Rig, dict]":
    import numpy as np

    from cddfuse_jax.rigs.search import measure_rig

    report(f"measuring {len(images)} pairs")
    found = measure_rig(images, affine)
    residual = found.residual[found.agree]
    return found.rig, {
        "pairs that agree": f"{found.agree.sum()} of {len(images)}",
        "residual of these in visible pixels": f"{np.median(residual):.1f} "
        f"(at most {residual.max():.1f})",
    }


def _from_points(path: Path, images, model: Model) -> "tuple[Rig, dict]":
    import numpy as np

    from cddfuse_jax.rigs.points import LEAST_POINTS, check_within, fit, mended, read_points
    from cddfuse_jax.rigs.rig import Rig

    points = read_points(path, model)
    matrix, residual = fit(points, model)
    rig = Rig(matrix, images[0][0].shape, images[0][1].shape)
    worst, width = int(residual.argmax()), images[0][1].shape[1]
    if not np.sqrt((residual**2).mean()) <= MOST_RESIDUAL * width:
        raise InputError(
            f"{path}: the points do not fit, point {worst + 1} is {residual[worst]:.0f} of {width} "
            f"infrared pixels off; {mended(points, model, MOST_RESIDUAL * width / 3)}"
        )
    check_within(path, points, images[0][0].shape[:2], images[0][1].shape[:2])
    if rig.fault:
        raise InputError(f"{path}: {rig.fault}: two points may be exchanged; click them again")
    if len(points) == LEAST_POINTS[model] and model != "similarity":
        report(f"warning: any {len(points)} points fit; more would show whether one is wrong")
    return rig, {
        "points": len(points),
        "residual in infrared pixels": f"{np.sqrt((residual**2).mean()):.2f} "
        f"(at most {residual[worst]:.2f}, point {worst + 1})",
    }


if __name__ == "__main__":
    run(main)
