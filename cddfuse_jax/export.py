"""Export the fusing network to one file that runs wherever JAX runs, without this package.

    python -m cddfuse_jax.export --out model.stablehlo

Run it with --help; docs/export.md shows how the file is used.
"""

import argparse
import textwrap
from pathlib import Path

from cddfuse_jax.console import ArgumentParser, add_overwrite
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import check_outputs, replacing
from cddfuse_jax.models.options import RESIDUALS
from cddfuse_jax.runtime.program import start
from cddfuse_jax.weights import shipped

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
DEFAULT_PLATFORMS = ("cpu", "cuda", "tpu")


def parse_platforms(text: str) -> tuple[str, ...]:
    """Read ``--platforms``: names from `PLATFORMS`, separated by commas."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names or not set(names) <= set(PLATFORMS):
        raise argparse.ArgumentTypeError(f"choose from {', '.join(PLATFORMS)}, got {text!r}")
    return tuple(dict.fromkeys(names))


def main() -> None:
    """Read the arguments, export, write, and say what was written."""
    parser = ArgumentParser(
        prog="python -m cddfuse_jax.export",
        description="Export the network with its weights as StableHLO, for any size of image.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=textwrap.dedent(
            """\
            The file holds one function from visible and infrared, float32 (n, h, w) in [0, 1] with
            h and w at least 8, to the fused luma, float32 (n, h, w), before stretch and colour:

              import jax
              fuse = jax.export.deserialize(open("model.stablehlo", "rb").read())
              fused = fuse.call(visible, infrared)

            It needs jax and flatbuffers, not this package.
            """
        ),
    )
    add = parser.add_argument
    shipped.add_option(parser)
    add("--out", required=True, type=Path, metavar="FILE", help="file to write")
    add("--residual", choices=RESIDUALS, help="as for fuse")
    add("--platforms", type=parse_platforms, default=DEFAULT_PLATFORMS, metavar="NAME,...",
        help=f"where it shall run, of {', '.join(PLATFORMS)}; default: cpu,cuda,tpu")  # fmt: skip
    add_overwrite(parser)
    given = parser.parse_args()
    if given.out.is_dir():
        raise InputError(f"--out is a file, {given.out} is a folder")

    from cddfuse_jax.fusing.exporting import export_fuse, serialized
    from cddfuse_jax.weights.files import load_params, trained_residual

    check_outputs([given.out], [given.weights], given.overwrite)
    params = load_params(given.weights)
    residual = given.residual or trained_residual(given.weights) or "visible"
    data = serialized(export_fuse(params, residual, given.platforms))
    with replacing(given.out) as temporary:
        temporary.write_bytes(data)
    print(f"{given.out}: {len(data) / 1e6:.1f} MB, for {', '.join(given.platforms)}")


if __name__ == "__main__":
    start(main)
