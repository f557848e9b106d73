"""How many pairs a second the input pipeline delivers, from each kind of source.

    python experiments/input_speed.py --vi MSRS/vi --ir MSRS/ir

Pairs of 640x480 PNG files of a user's, the release's HDF5 patches cut from them, and TFDS written
from them, each as `train` reads it: 128x128, batch 32. The seconds of CPU that a pair costs count,
so that another program on the same machine does not matter; a host's rate is its cores over these.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cddfuse_jax.data.pipeline import batches, prefetch
from cddfuse_jax.data.sources import FolderPairs
from cddfuse_jax.data.stored_pairs import H5Patches, TfdsPairs

RESULTS = Path(__file__).parent / "results"
BATCH, CROP = 32, 128


def main() -> None:
    """Measure every source and keep the figures beside the plan's need."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--vi", required=True)
    parser.add_argument("--ir", required=True)
    parser.add_argument("--pairs", type=int, default=600)
    given = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = ["--vi", given.vi, "--ir", given.ir]
        _run("cddfuse_jax.data.patches", *made, "--out", str(folder / "patches.h5"))
        for split in ("train", "test"):
            (folder / "pairs" / split).mkdir(parents=True)
            for modality, of in (("vi", given.vi), ("ir", given.ir)):
                (folder / "pairs" / split / modality).symlink_to(Path(of).resolve())
        whole = ["--data", str(folder / "pairs"), "--out", str(folder / "tfds")]
        _run("cddfuse_jax.data.tfds_builder", *whole)
        version = next(path.parent for path in (folder / "tfds").rglob("dataset_info.json"))
        sources = {
            "folders of PNG files": (FolderPairs(given.vi, given.ir), CROP),
            "HDF5": (H5Patches(folder / "patches.h5"), 0),
            "TFDS": (TfdsPairs(version, "train"), CROP),
        }
        for label, (source, crop) in sources.items():
            found[label] = _measure(source, crop, given.pairs)
            print(f"{label}: {found[label]}")
    RESULTS.joinpath("input_speed.json").write_text(json.dumps(found, indent=1) + "\n")


def _measure(source, crop: int, pairs: int) -> dict[str, float]:
    dataset = batches(source, batch_size=BATCH, seed=0, crop=crop, crops_per_pair=100)
    steps = prefetch(dataset)
    next(steps)
    began, spent, counted = time.perf_counter(), _cpu_seconds(), 0
    while counted < pairs and time.perf_counter() - began < 30:
        counted += len(next(steps)["visible"])
    elapsed, spent = time.perf_counter() - began, _cpu_seconds() - spent
    return {
        "pairs": counted,
        "pairs_per_second": round(counted / elapsed, 1),
        "pairs_per_second_and_core": round(counted / spent, 1),
    }


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _run(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", module, *arguments], check=True)


if __name__ == "__main__":
    main()
