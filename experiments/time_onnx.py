"""Seconds per pair of the exported ONNX file by ONNX Runtime and by JAX, alternating.

    python experiments/time_onnx.py [--rounds 7] [--release CHECKOUT] [--out FILE]

All on the CPU with all its cores; the median of the rounds. Sizes of the files and the largest
differences to JAX are those that `export` checks. With a checkout of the release (and the extra
[torch]) ONNX Runtime runs the release's own export of the network of `ivf` too, for each size anew.
"""

import argparse
import json
import os
import statistics
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rivals import onnx_runtime

from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.export.onnx_file import onnx_model, runner
from cddfuse_jax.fusing.whole import make_fuse
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.weights.any_format import load_params

RESULT = Path(__file__).parent / "results" / "time_onnx.json"
SIZES = ((128, 128), (480, 640))


def main() -> None:
    """Export, time and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--release", metavar="CHECKOUT")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    result: dict = {
        "cores": os.cpu_count(), "jax": version("jax"), "onnxruntime": version("onnxruntime"),
        "rounds": given.rounds, "weights": {},
    }  # fmt: skip
    for name in ("small", "ivf"):
        params = load_params(name)
        data, errors = onnx_model(params)
        half, half_errors = onnx_model(params, dtype="float16")
        fuse, run = make_fuse(CDDFuse.from_params(params), params), runner(data)
        row = {
            "megabytes": len(data) / 1e6, "largest_difference": max(errors.values()),
            "float16_megabytes": len(half) / 1e6,
            "float16_largest_difference": max(half_errors.values()), "seconds": {},
        }  # fmt: skip
        for height, width in SIZES:
            pair = [np.float32(image) for image in synthetic_pair(0, height, width)]
            ways = {
                "jax": lambda pair=pair, fuse=fuse: fuse(*pair),
                "onnx": lambda pair=pair, run=run: run(*(side[None] for side in pair)),
            }
            if given.release and name == "ivf":
                images = (np.stack([side]) for side in pair)
                ways["release's export"] = onnx_runtime(
                    given.release, params, *images, os.cpu_count()
                )
            taken: dict[str, list[float]] = {way: [] for way in ways}
            for number in range(given.rounds + 1):
                for way, call in ways.items():
                    started = time.perf_counter()
                    call()
                    if number:  # the first compiles
                        taken[way].append(time.perf_counter() - started)
            medians = {way: round(statistics.median(each), 4) for way, each in taken.items()}
            row["seconds"][f"{width}x{height}"] = medians
        result["weights"][name] = row
        print(name, json.dumps(row), flush=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
