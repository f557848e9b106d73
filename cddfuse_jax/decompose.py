"""See and measure what the network takes pairs apart into.

    python -m cddfuse_jax.decompose --vi FILE_OR_DIR --ir FILE_OR_DIR --out DIR

Run it with --help for what is written.
"""

import argparse
import csv
import textwrap
from pathlib import Path

from cddfuse_jax.console import ArgumentParser, progress, report, run
from cddfuse_jax.decomposition.features import Decomposition, decompose
from cddfuse_jax.decomposition.pictures import distribution, labelled_grid
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import replacing
from cddfuse_jax.fusing.folder import outputs, refuse_existing
from cddfuse_jax.fusing.fuser import LEAST_SIDE
from cddfuse_jax.images import levels
from cddfuse_jax.images.image_files import naming, write_png
from cddfuse_jax.images.pairs import RESIZES, Pair, Resize, read_pair, select_pairs
from cddfuse_jax.models.cddfuse import RESIDUALS, CDDFuse, Residual
from cddfuse_jax.weights import shipped
from cddfuse_jax.weights.files import load_params, trained_residual

MEASURES = ("cc_base", "cc_detail", "decomposition", "inverse_error", "inverse_error_float64")
TABLE, PICTURE = "decomposition.csv", "distribution.png"


def decompose_file(
    model: CDDFuse, params, pair: Pair, residual: Residual, resize: Resize | None = None
) -> Decomposition:
    """Read a pair as fuse does and take it apart.

    Raises:
        InputError: a file cannot be read, or the sizes differ or are below 2x2.
    """
    photos = read_pair(pair, resize)
    with naming(pair.name):
        images = [levels.network_input(photo.pixels) for photo in photos]
        if min(images[0].shape) < LEAST_SIDE:
            height, width = images[0].shape
            raise InputError(f"images must be at least 2x2, got {width}x{height}")
    return decompose(model, params, *images, residual)


def write_table(path: Path, measured: dict[str, Decomposition]) -> None:
    """Write one row per image: its name and `MEASURES`."""
    with replacing(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", *MEASURES])
        for name, parts in measured.items():
            writer.writerow([name, *(f"{getattr(parts, measure):.6g}" for measure in MEASURES)])


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m cddfuse_jax.decompose",
        description="Draw and measure the base and detail features of pairs.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=textwrap.dedent(
            """\
            Writes into OUT
              NAME.png           rows visible, infrared, fused; columns image, base and detail
                                 features: means over channels, each stretched for itself
              decomposition.csv  per image: the correlation of the two modalities' base features and
                                 of their detail features (training drives the first up and the
                                 second to 0), the loss made of them, and the relative error of
                                 the detail branch's closed-form inverse in float32 and float64
              distribution.png   of a folder: both correlations over its images

            Exit code: 0 all done, 1 some pairs failed, 2 nothing was started.
            """
        ),
    )
    add = parser.add_argument
    shipped.add_option(parser)
    add("--vi", required=True, type=Path, metavar="PATH", help="visible (or MRI): file or folder")
    add("--ir", required=True, type=Path, metavar="PATH", help="infrared (or CT, PET, SPECT)")
    add("--out", required=True, type=Path, metavar="DIR", help="folder for pictures and table")
    add("--residual", choices=RESIDUALS, help="as for fuse")
    add("--resize", choices=RESIZES, help="as for fuse: where sizes differ, resample this one")
    add("--overwrite", action="store_true", help="replace outputs that exist")
    return parser


def main() -> int:
    """Read the arguments, take every pair apart, and write what was seen."""
    given = _parser().parse_args()
    pairs, alone = select_pairs(given.vi, given.ir)
    files = outputs(pairs, given.out / "")
    table, picture = given.out / TABLE, given.out / PICTURE
    if picture in files:
        raise InputError(f"a pair named {picture.stem} would hide {PICTURE}; rename its files")
    if not given.overwrite:
        refuse_existing([*files, table, picture])
    params = load_params(given.weights)
    residual = given.residual or trained_residual(given.weights) or "visible"
    model = CDDFuse.from_params(params)
    for line in alone:
        report(line)
    measured: dict[str, Decomposition] = {}
    for pair, file in progress(list(zip(pairs, files, strict=True)), "decomposing", unit="pair"):
        try:
            parts = decompose_file(model, params, pair, residual, given.resize)
        except InputError as error:
            report(str(error))
            continue
        write_png(file, labelled_grid(parts, pair.name))
        measured[pair.name] = parts._replace(images=None, base=None, detail=None)
    if measured:
        write_table(table, measured)
        base, detail = ([getattr(p, m) for p in measured.values()] for m in MEASURES[:2])
        if len(measured) > 1:
            shown = {"base features": base, "detail features": detail}
            title = f"correlation of the two modalities' features, {len(measured)} pairs"
            write_png(picture, distribution(shown, title))
        print(
            f"{len(measured)} pairs: correlation of base {sum(base) / len(base):+.3f}, of detail "
            f"{sum(detail) / len(detail):+.3f}; inverse off by at most "
            f"{max(parts.inverse_error for parts in measured.values()):.1e}, in float64 by "
            f"{max(parts.inverse_error_float64 for parts in measured.values()):.1e}"
        )
    failed = len(pairs) - len(measured) + len(alone)
    print(f"{given.out}: {len(measured)} done, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    run(main)
