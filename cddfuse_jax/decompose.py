"""Draw and measure what the network takes pairs apart into.

    python -m cddfuse_jax.decompose --vi FILE_OR_DIR --ir FILE_OR_DIR --out DIR

Run it with --help for what is written.
"""

import argparse
import textwrap
from pathlib import Path

from cddfuse_jax.console import ArgumentParser, add_overwrite, run
from cddfuse_jax.models import RESIDUALS
from cddfuse_jax.pairs import rules
from cddfuse_jax.pairs.read import RESIZES
from cddfuse_jax.weights import shipped


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
    rules.add_option(parser)
    add_overwrite(parser)
    return parser


def main() -> int:
    """Read the arguments, take every pair apart, and write pictures and table."""
    given = _parser().parse_args()

    from cddfuse_jax.devices import prepare
    from cddfuse_jax.training.decomposed_folder import decompose_files

    prepare()

    failed = decompose_files(
        given.weights,
        given.vi,
        given.ir,
        given.out,
        given.residual,
        given.resize,
        given.overwrite,
        rules.parse(given.pair),
    )
    return 1 if failed else 0


if __name__ == "__main__":
    run(main)
