"""Cut two folders of image pairs into training patches, in one HDF5 file, as the release does.

    python -m cddfuse_jax.data.patches --vi DIR --ir DIR --out FILE.h5 [--size 128] [--stride 200]

Exit code 0 if every pair was cut, 1 if some were left out (one line each says why), 2 if no file
was written.
"""

import functools
from pathlib import Path

from cddfuse_jax import console
from cddfuse_jax.images.ranges import AUTO, parse_range
from cddfuse_jax.pairs import rules
from cddfuse_jax.rigs import HELP, OPTION


def main() -> int:
    """Read the arguments and write the file."""
    parser = console.ArgumentParser(
        prog="python -m cddfuse_jax.data.patches",
        description="Cut image pairs into training patches, in the release's HDF5 format.",
    )
    add = parser.add_argument
    add("--vi", type=Path, required=True, help="folder of visible images")
    add("--ir", type=Path, required=True, help="folder of infrared images")
    add("--out", type=Path, required=True, help="HDF5 file to write")
    add("--size", type=int, default=128, help="side of a patch in pixels (128)")
    add("--stride", type=int, default=200, help="pixels from one to the next (200)")
    for side in ("--range-vi", "--range-ir"):
        read = functools.partial(parse_range, option=side)
        add(side, type=read, default=AUTO, metavar="RANGE", help="as fuse takes it")
    add(OPTION, type=Path, metavar="FILE", help=HELP)
    rules.add_option(parser)
    console.add_overwrite(parser)
    given = parser.parse_args()

    from cddfuse_jax.data.cutting import write_patches
    from cddfuse_jax.rigs.rig import load_rig

    return write_patches(
        given.vi,
        given.ir,
        given.out,
        given.size,
        given.stride,
        given.overwrite,
        rules.parse(given.pair),
        load_rig(given.registration) if given.registration else None,
        (given.range_vi, given.range_ir),
    )


if __name__ == "__main__":
    console.run(main)
