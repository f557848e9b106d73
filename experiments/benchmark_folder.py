"""Files to files, everything counted: the command and the release, one pair and many sizes.

    python experiments/benchmark_folder.py --vi DIR --ir DIR --release DIR [--pairs 25]

Each run is one process from start to the last file: imports, compiling, reading, fusing, stretching
and writing. The command's cache of compiled programs is empty at its first run, and kept for the
second. The release's network runs in PyTorch eager, between the command's own reading and writing.
Writes experiments/results/benchmark_folder.json.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from cddfuse_jax import huge_pages
from cddfuse_jax.console import ArgumentParser, report, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import replacing
from cddfuse_jax.images import levels
from cddfuse_jax.images.image_files import write_png
from cddfuse_jax.pairs.find import select_pairs
from cddfuse_jax.pairs.read import read_pair
from cddfuse_jax.weights.any_format import load_params

RESULT = Path(__file__).parent / "results" / "benchmark_folder.json"
SIDES = ("vi", "ir")


def fuse_with_release(release: str, folder: Path) -> None:
    """Fuse the pairs of a folder in PyTorch eager, each image as the command would."""
    import rivals
    import torch

    blank = np.zeros((1, 8, 8), np.float32)
    threads = len(os.sched_getaffinity(0))
    module = rivals.release_fuse(release, load_params("ivf"), blank, blank, threads)[0]
    (folder / "theirs").mkdir()
    for pair in select_pairs(*(folder / side for side in SIDES))[0]:
        read = read_pair(pair)
        images = (levels.network_input(x.pixels) for x in (read.visible, read.infrared))
        with torch.inference_mode():
            luma = module(*(torch.from_numpy(image)[None, None] for image in images))
        fused = levels.to_8_bit(levels.stretched(luma.numpy()[0, 0]))
        write_png(folder / "theirs" / f"{pair.name}.png", fused)


def seconds(command: list[str], **environment: str) -> float:
    """Wall time of a command."""
    start = time.perf_counter()
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"{' '.join(command)} failed: {done.stderr.strip()[-400:]}")
    return round(time.perf_counter() - start, 1)


def measure(pairs, release: str) -> dict[str, float]:
    """Seconds of each side for these pairs."""
    with tempfile.TemporaryDirectory() as folder:
        for side, files in zip(SIDES, zip(*(pair[1:] for pair in pairs), strict=True), strict=True):
            Path(folder, side).mkdir()
            for file in files:
                Path(folder, side, file.name).symlink_to(file.resolve())
        sources = [word for side in SIDES for word in (f"--{side}", f"{folder}/{side}")]
        taken = {}
        for weights in ("ivf", "small"):
            for turn in ("first", "second"):
                report(f"{len(pairs)}: {weights}, {turn} run ...")
                taken[f"{weights}, {turn} run"] = seconds(
                    [sys.executable, "-m", "cddfuse_jax", "fuse", *sources, "--weights", weights,
                     "--color", "none", "--out", f"{folder}/{weights} {turn}"],
                    JAX_COMPILATION_CACHE_DIR=f"{folder}/cache",
                )  # fmt: skip
        report(f"{len(pairs)}: the release ...")
        taken["release"] = seconds([sys.executable, __file__, "--release", release, "--as", folder])
    return taken


def main() -> None:
    """Measure both sides, print and write."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vi", type=Path)
    parser.add_argument("--ir", type=Path)
    parser.add_argument("--release", required=True)
    parser.add_argument("--pairs", type=int, default=25, help="the first N; default: %(default)s")
    parser.add_argument("--as", dest="child", type=Path, help="run the release's side of a folder")
    given = parser.parse_args()
    if given.child:
        fuse_with_release(given.release, given.child)
        return
    pairs = select_pairs(given.vi, given.ir)[0][: given.pairs]
    result = {
        "cores": len(os.sched_getaffinity(0)),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("jax", "torch")},
        "seconds": {str(n): measure(pairs[:n], given.release) for n in (1, len(pairs))},
    }
    with replacing(RESULT) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    huge_pages.restart()
    run(main)
