"""Compare the port with a checkout of the PyTorch release, on the same weights and images.

    python -m cddfuse_jax.parity --release DIR --weights W [--vi A.png --ir B.png]

The release runs in float64, taken as the truth, and in float32; the port in float32 or as
``--precision`` says; on crops of 96x64, 96x96 and 101x131 pixels of one pair, or of the first five
of two folders. Of every feature and image the port's errors are divided by the release's own: of
root mean squares (RMS) are printed the geometric mean over the crops, its 95 % interval and the
worst, of maxima the median. The port holds if every interval ends at 1.1 or below and every median
is at most 1.5. Exit code 0 if it holds, 1 if not, 2 if the comparison cannot be made. Needs the
``torch`` extra. The release runs on the CPU, the port on JAX's device: on a TPU or an NVIDIA GPU
parity needs ``--precision highest``.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cddfuse_jax import console
from cddfuse_jax.console import run
from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import check_outputs, replacing
from cddfuse_jax.models import PRECISIONS
from cddfuse_jax.pairs.find import Pair, find_pairs
from cddfuse_jax.pairs.read import read_pair

SIZES = (64, 96), (96, 96), (131, 101)  # height, width
PAIRS = 5
Grey = tuple[np.ndarray, np.ndarray]  # a pair, (h, w) in [0, 1]


def _read_pairs(visible: str | None, infrared: str | None) -> dict[str, Grey]:
    if not visible and not infrared:
        return {f"synthetic {seed}": synthetic_pair(seed, 160, 160) for seed in range(PAIRS)}
    if not visible or not infrared:
        raise InputError("--vi and --ir belong together: give both, or none for synthetic pairs")
    pairs = [Pair(Path(visible).stem, Path(visible), Path(infrared))]
    if Path(visible).is_dir():
        pairs = find_pairs(visible, infrared).pairs[:PAIRS]
    read = {pair.name: read_pair(pair).grey for pair in pairs}
    small = [name for name, (image, _) in read.items() if np.any(image.shape < np.max(SIZES, 0))]
    if small or not read:
        found = f"{small[0]} is smaller" if small else "found none"
        raise InputError(f"{visible}: needs pairs of 101x131 pixels or more, {found}")
    return read


def _crops(pairs: dict[str, Grey], count: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Cut from each pair in its turn, sizes in theirs, at random places of one seed."""
    rng = np.random.default_rng(0)
    for number in range(count):
        name, (visible, infrared) = list(pairs.items())[number % len(pairs)]
        height, width = SIZES[number // len(pairs) % len(SIZES)]
        top, left = rng.integers(0, np.subtract(visible.shape, (height, width)) + 1).tolist()
        part = np.s_[top : top + height, left : left + width]
        yield f"{name} {width}x{height}+{left}+{top}", visible[part], infrared[part]


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison, print its table, and return the exit code."""
    parser = console.ArgumentParser(
        "python -m cddfuse_jax.parity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--release", required=True, metavar="DIR", help="checkout with net.py")
    parser.add_argument("--weights", required=True, metavar="W", help="as of fuse")
    parser.add_argument("--vi", metavar="PATH", help="image or folder; default: synthetic pairs")
    parser.add_argument("--ir", metavar="PATH", help="infrared image or folder")
    parser.add_argument("--crops", type=int, default=25, metavar="N",
        help="in all; fewer make wider intervals; default: %(default)s")  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write all errors there as well")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32",
        help="of the port; on TPUs and NVIDIA GPUs only highest is float32 throughout")  # fmt: skip
    console.add_overwrite(parser)
    options = parser.parse_args(arguments)

    from cddfuse_jax.devices import check_platform
    from cddfuse_jax.release.checkout import load_release
    from cddfuse_jax.release.comparison import compare, judge, table
    from cddfuse_jax.release.features import run_port, run_release, where_it_runs
    from cddfuse_jax.weights.any_format import load_params

    if options.crops < 2:
        raise InputError(f"--crops must be 2 or more, for an interval, got {options.crops}")
    if options.json:
        check_outputs([options.json], (), options.overwrite)
    check_platform()
    pairs = _read_pairs(options.vi, options.ir)
    params = load_params(options.weights)
    modules = load_release(options.release, params)
    crops, errors = _crops(pairs, options.crops), []
    for name, vis, ir in console.progress(crops, "parity", options.crops, unit="crop"):
        port = run_port(params, vis, ir, options.precision)
        release32, truth = (run_release(modules, vis, ir, f"float{bits}") for bits in (32, 64))
        errors += compare(name, port, release32, truth)
    verdicts = judge(errors)
    print(where_it_runs(options.precision), table(verdicts, options.crops), sep="\n")
    if options.json:
        found = (("verdicts", verdicts), ("errors", errors))
        rows = {name: [row._asdict() for row in rows] for name, rows in found}
        with replacing(options.json) as file:
            file.write_text(json.dumps(rows, indent=1) + "\n")
    return 0 if all(row.holds for row in verdicts) else 1


if __name__ == "__main__":
    run(main)
