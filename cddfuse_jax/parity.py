"""Compare the port with a checkout of the PyTorch release, on the same weights and images.

    python -m cddfuse_jax.parity --release DIR --weights CDDFuse_IVF.pth [--vi A.png --ir B.png]

The release runs in float64, which is taken as the truth, and in float32; the port in float32 or as
``--precision`` says. Of every feature and image the largest absolute error of both is printed. The
port passes where its error is at most 1.5 times the release's own; where the release happens to be
all but exact, one float32 epsilon of the truth's largest value is granted. Exit code 0 if all
passes, 1 if not, 2 if the comparison cannot be made. Needs the ``torch`` extra. The release runs on
the CPU, the port on JAX's device: on a TPU or an NVIDIA GPU parity needs ``--precision highest``.
"""

import argparse
import json

import numpy as np

from cddfuse_jax import console
from cddfuse_jax.console import run
from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import check_outputs, replacing
from cddfuse_jax.images import image_files
from cddfuse_jax.models import PRECISIONS
from cddfuse_jax.pairs.read import check_same_size


def _read_pair(visible: str | None, infrared: str | None) -> tuple[np.ndarray, np.ndarray]:
    if not visible and not infrared:
        return synthetic_pair(0, 128, 128)
    if not visible or not infrared:
        raise InputError("--vi and --ir belong together: give both, or none for a synthetic pair")
    vis, ir = image_files.read_grey(visible), image_files.read_grey(infrared)
    check_same_size(vis.shape, ir.shape, (visible, infrared))
    if min(vis.shape) < 2:
        raise InputError(f"{visible}: images must be at least 2x2 pixels")
    return vis / np.float32(255), ir / np.float32(255)


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison, print its table, and return the exit code."""
    parser = console.ArgumentParser(
        "python -m cddfuse_jax.parity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--release", required=True, metavar="DIR", help="checkout with net.py")
    parser.add_argument(
        "--weights", required=True, metavar="W", help="a .pth file or a training run"
    )
    parser.add_argument("--vi", metavar="FILE", help="visible image (default: a synthetic pair)")
    parser.add_argument("--ir", metavar="FILE", help="infrared image of the same size")
    parser.add_argument("--json", metavar="FILE", help="write the table there as well")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32",
        help="of the port; on TPUs and NVIDIA GPUs only highest is float32 throughout")  # fmt: skip
    console.add_overwrite(parser)
    options = parser.parse_args(arguments)

    from cddfuse_jax.devices import check_platform
    from cddfuse_jax.release.checkout import load_release
    from cddfuse_jax.release.comparison import compare, table
    from cddfuse_jax.release.features import run_port, run_release, where_it_runs
    from cddfuse_jax.weights.any_format import load_params

    if options.json:
        check_outputs([options.json], (), options.overwrite)
    check_platform()
    pair = _read_pair(options.vi, options.ir)
    params = load_params(options.weights)
    modules = load_release(options.release, params)
    release32 = run_release(modules, *pair, "float32")
    truth = run_release(modules, *pair, "float64")
    comparisons = compare(run_port(params, *pair, options.precision), release32, truth)
    print(where_it_runs(options.precision))
    print(table(comparisons))
    if options.json:
        with replacing(options.json) as file:
            file.write_text(json.dumps([row._asdict() for row in comparisons], indent=1) + "\n")
    return 0 if all(row.passes for row in comparisons) else 1


if __name__ == "__main__":
    run(main)
