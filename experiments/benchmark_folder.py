"""A folder of pairs in many sizes, first run, everything counted: the command and the release.

    python experiments/benchmark_folder.py --vi DIR --ir DIR --release DIR [--pairs N]

Each side is one process from start to the last file: imports, compiling (the port's cache of
compiled programs starts empty; then the same again with what that run has left), reading, fusing,
stretching and writing. The release's network runs in PyTorch eager, between the port's own reading
and writing.
Writes experiments/results/benchmark_folder.json.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from cddfuse_jax import huge_pages
from cddfuse_jax.console import ArgumentParser, report, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import replacing
from cddfuse_jax.fusing.buckets import plan
from cddfuse_jax.images import levels
from cddfuse_jax.images.image_files import write_png
from cddfuse_jax.pairs.find import select_pairs
from cddfuse_jax.pairs.read import read_pair, sizes_of
from cddfuse_jax.weights import shipped
from cddfuse_jax.weights.any_format import load_params

RESULT = Path(__file__).parent / "results" / "benchmark_folder.json"


def fuse_with_release(release: str, visible: Path, infrared: Path, out: Path, count: int) -> None:
    """Fuse the first ``count`` pairs in PyTorch eager, each image as the command would."""
    import rivals
    import torch

    threads = len(os.sched_getaffinity(0))
    blank = np.zeros((1, 8, 8), np.float32)
    params = load_params(shipped.DEFAULT)
    module = rivals.release_fuse(release, params, blank, blank, threads)[0]
    for pair in select_pairs(visible, infrared)[0][:count]:
        photos = read_pair(pair)
        images = (levels.network_input(x.pixels) for x in (photos.visible, photos.infrared))
        with torch.inference_mode():
            luma = module(*(torch.from_numpy(image)[None, None] for image in images))
        write_png(out / f"{pair.name}.png", levels.to_8_bit(levels.stretched(luma.numpy()[0, 0])))


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Wall time of a command."""
    start = time.perf_counter()
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"{' '.join(command)} failed: {done.stderr.strip()[-400:]}")
    return round(time.perf_counter() - start, 1)


def main() -> None:
    """Measure both sides, print and write."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vi", required=True, type=Path)
    parser.add_argument("--ir", required=True, type=Path)
    parser.add_argument("--release", required=True)
    parser.add_argument("--pairs", type=int, help="the first N only")
    parser.add_argument("--as-child", type=Path, help="run the release's side into that folder")
    given = parser.parse_args()
    pairs = select_pairs(given.vi, given.ir)[0][: given.pairs]
    if given.as_child:
        fuse_with_release(given.release, given.vi, given.ir, given.as_child, len(pairs))
        return
    sizes = sizes_of(pairs)
    shapes = plan(sizes)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for modality, place in (("visible", "vi"), ("infrared", "ir")):
            (folder / place).mkdir()
            for pair in pairs:
                file = getattr(pair, modality)
                (folder / place / file.name).symlink_to(file.resolve())
        ours = [sys.executable, "-m", "cddfuse_jax.fuse", "--color", "none", "--overwrite"]
        ours += ["--vi", str(folder / "vi"), "--ir", str(folder / "ir"), "--out"]
        cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
        report("the port, nothing compiled ...")
        cold = seconds([*ours, str(folder / "ours")], cache)
        report("the port again ...")
        warm = seconds([*ours, str(folder / "ours")], cache)
        report("the release ...")
        theirs = [sys.executable, __file__, "--release", given.release, "--as-child"]
        theirs += [str(folder / "theirs"), "--vi", str(folder / "vi"), "--ir", str(folder / "ir")]
        release = seconds(theirs, {})
    result = {
        "pairs": len(pairs),
        "sizes": len(set(sizes)),
        "compiled_shapes": len({shapes.get(size, size) for size in sizes}),
        "seconds": {"port, first run": cold, "port, second run": warm, "release": release},
        "ratio_first": round(release / cold, 2),
        "ratio_second": round(release / warm, 2),
    }
    with replacing(RESULT) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    huge_pages.restart()
    run(main)
