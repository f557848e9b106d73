"""Export the fusing network to one file that runs without this package, by JAX or ONNX Runtime.

    python -m cddfuse_jax.export --out model.stablehlo
    python -m cddfuse_jax.export --format onnx --out model.onnx

Run it with --help; docs/export.md shows how the file is used.
"""

import argparse
import textwrap
from pathlib import Path

from cddfuse_jax.console import ArgumentParser, add_overwrite, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.export import TYPES
from cddfuse_jax.files import check_outputs, replacing
from cddfuse_jax.models import RESIDUALS
from cddfuse_jax.weights import shipped

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
DEFAULT_PLATFORMS = ("cpu", "cuda", "tpu")
FORMATS = ("stablehlo", "onnx")


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
        description="Export the network with its weights, for images of any size: as StableHLO, "
        "which JAX runs, or as ONNX.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=textwrap.dedent(
            """\
            A StableHLO file holds one function from visible and infrared, float32 (n, h, w) in
            [0, 1] with h and w at least 8, to the fused luma, float32 (n, h, w), before stretch
            and colour:

              import jax
              fuse = jax.export.deserialize(open("model.stablehlo", "rb").read())
              fused = fuse.call(visible, infrared)

            It needs jax and flatbuffers, not this package. An ONNX file has the same inputs, named
            visible and infrared, and the same output, named fused. It is written only if ONNX
            Runtime gives what JAX gives in float64, within 1e-5 or four times JAX's own error
            (float32), or 2/255 (float16).
            """
        ),
    )
    add = parser.add_argument
    shipped.add_option(parser)
    add("--out", required=True, type=Path, metavar="FILE", help="file to write")
    add("--residual", choices=RESIDUALS, help="as for fuse")
    add("--format", choices=FORMATS, default="stablehlo", help="default: %(default)s")
    names = ", ".join(PLATFORMS)
    add("--platforms", type=parse_platforms, metavar="NAME,...",
        help=f"StableHLO: where it shall run, of {names}; default: cpu,cuda,tpu")  # fmt: skip
    add("--dtype", choices=TYPES, help="ONNX: of weights and features; default: float32")
    add_overwrite(parser)
    given = parser.parse_args()
    if given.out.is_dir():
        raise InputError(f"--out is a file, {given.out} is a folder")
    if given.format != "onnx" and given.out.suffix.lower() == ".onnx":
        parser.error(f"{given.out} is to be {given.format}; give --format onnx")
    if given.format != "stablehlo" and given.platforms:
        parser.error("--platforms is for StableHLO: ONNX is for all of them")
    if given.format != "onnx" and given.dtype:
        parser.error("--dtype is for --format onnx; StableHLO is float32")

    from cddfuse_jax.devices import prepare
    from cddfuse_jax.weights.any_format import load
    from cddfuse_jax.weights.custom_network import is_custom

    check_outputs([given.out], [given.weights], given.overwrite)
    prepare()
    loaded = load(given.weights, given.own)
    params, residual = loaded.params, given.residual or loaded.residual or "visible"
    if given.format != "stablehlo":
        if is_custom(loaded.meta):
            raise InputError(
                f"{given.weights}: ONNX holds the release's network, this has custom parts; "
                "give --format stablehlo"
            )
        from cddfuse_jax.export.onnx_file import onnx_model

        data, errors = onnx_model(params, residual, given.dtype or "float32")
        what = f"ONNX Runtime is off by at most {max(errors.values()):.1e}"
    else:
        from cddfuse_jax.export.stablehlo import export_fuse, serialized

        platforms = given.platforms or DEFAULT_PLATFORMS
        data = serialized(export_fuse(params, residual, platforms, loaded.model))
        what = f"for {', '.join(platforms)}"
    with replacing(given.out) as temporary:
        temporary.write_bytes(data)
    print(f"{given.out}: {len(data) / 1e6:.2f} MB, {what}")


if __name__ == "__main__":
    run(main)
