"""Time and memory of fusing and of a training step, beside the PyTorch release on one machine.

    python experiments/benchmark.py [--release DIR] [--rivals] [--only fuse128,train1] [--out FILE]

With --rivals, fusing at 128x128 is also done by torch.compile, ONNX Runtime and OpenVINO (pip
install onnx onnxscript onnxruntime openvino). All sides take turns (ours, theirs, ours, ...) with
the same weights, images and number of threads; every run waits for its result, compiling is timed
apart, and the median of the rounds counts. In each round the machine multiplies two float32
matrices: the rate that bounds the network's minimal arithmetic. Peak memory is of two runs in a
process of its own, above what the process held before them (the libraries and the weights). Needs
the ``torch`` extra with --release. Writes experiments/results/benchmark.json. The whole process has
huge pages, as commands have them: all sides gain by it.
"""

import functools
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import rivals

from cddfuse_jax import huge_pages
from cddfuse_jax.commands import ArgumentParser, InputError, replacing, report, run
from cddfuse_jax.fusion import make_fuse
from cddfuse_jax.losses import fusion_loss
from cddfuse_jax.models.cddfuse import MODULES, CDDFuse
from cddfuse_jax.optimizers import adam, learning_rate
from cddfuse_jax.train_step import Stage, TrainState, update

RESULT = Path(__file__).parent / "results" / "benchmark.json"
MULTIPLY_ADDS = 1.10e6  # per pixel of a pair: the least that this network takes
PAUSE = 0.5  # seconds before each run: other libraries' threads wait for work by spinning
MATRIX = 2048  # rows and columns of the product that gives the machine's rate
RIVALS_CASE = "fuse128"
CASES = {  # pairs, height, width; a name tells what is done with them
    "fuse128": (1, 128, 128),
    "fuse256": (1, 256, 256),
    "fuse480x640": (1, 480, 640),
    "train1": (1, 128, 128),
    "train2": (2, 128, 128),
}
THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def random_params() -> dict[str, Any]:
    """Draw weights of the initial spread for the whole network, as NumPy arrays.

    Nothing is compiled or run for it, so that the memory measured is that of the case.
    """
    image = jnp.zeros((1, 8, 8, 1))
    shapes = jax.eval_shape(CDDFuse().init, jax.random.key(0), image, image)["params"]
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        if leaf.ndim == 1:
            return np.full(leaf.shape, "bias" not in path[-1].key, np.float32)
        return np.float32(rng.uniform(-1, 1, leaf.shape) / math.sqrt(math.prod(leaf.shape[:-1])))

    return jax.tree_util.tree_map_with_path(draw, shapes)


def random_pairs(case: str) -> np.ndarray:
    """Visible and infrared of a case, (2, n, h, w) float32 in [0, 1]."""
    return np.random.default_rng(0).random((2, *CASES[case]), np.float32)


def ours(case: str, params) -> Callable[[], Any]:
    """Return what is timed here; its first call compiles."""
    visible, infrared = random_pairs(case)
    if case.startswith("fuse"):
        return functools.partial(make_fuse(params), visible[0], infrared[0])
    model, schedule = CDDFuse(), learning_rate(100)
    optimizer = adam(schedule)
    stage = Stage("fusion", functools.partial(fusion_loss, model=model), MODULES)
    pure = functools.partial(update, stage=stage, optimizer=optimizer, schedule=schedule)
    step = jax.jit(pure, donate_argnums=0)
    moments = {module: optimizer.init(params[module]) for module in MODULES}
    state = jax.device_put(TrainState(jnp.zeros((), jnp.int32), params, moments))

    def train():
        nonlocal state
        state, metrics = step(state, visible[..., None], infrared[..., None])
        return jax.block_until_ready((state, metrics))[1]["total"]

    return train


def theirs(case: str, params, release: str, rival: str = "release") -> Callable[[], Any]:
    """Return the same done by the release's modules in PyTorch eager, or by a rival of it."""
    make = rivals.FUSERS[rival] if case.startswith("fuse") else rivals.training_step
    return make(release, params, *random_pairs(case), THREADS)


def seconds(function: Callable[[], Any]) -> float:
    """Wall time of one call; the functions here return when their result is there."""
    time.sleep(PAUSE)
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def memory(field: str) -> int:
    """Bytes that this process holds (``VmRSS``) or held at most (``VmHWM``)."""
    # Not getrusage: there, a child process starts with its parent's maximum.
    status = Path("/proc/self/status")
    if not status.is_file():
        raise InputError("peak memory is read from /proc, which this system lacks; --no-memory")
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", status.read_text())[1])


def peak_memory(case: str, release: str | None) -> int:
    """Bytes that the first two runs of a case added to a process of its own."""
    child = [sys.executable, __file__, "--only", case, "--as-child"]
    child += ["--release", release] if release else []
    done = subprocess.run(child, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"measuring the memory of {case} failed: {done.stderr.strip()[-300:]}")
    return int(done.stdout.split()[-1])


def measure(
    case: str, release: str | None, others: list[str], rounds: int, with_memory: bool
) -> dict[str, Any]:
    """Return times in seconds, memory in bytes, and ratios: theirs over ours."""
    params = random_params()
    sides = {"ours": ours(case, params)}
    if release:
        sides["release"] = theirs(case, params, release)
        if case == RIVALS_CASE:
            sides |= {rival: theirs(case, params, release, rival) for rival in others}
    first = {side: seconds(function) for side, function in sides.items()}
    square = jax.random.uniform(jax.random.key(0), (MATRIX, MATRIX))
    sides["matmul"] = lambda: jax.block_until_ready(square @ square)
    sides["matmul"]()
    times: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, function in sides.items():
            times[side].append(seconds(function))
    median = {side: statistics.median(values) for side, values in times.items()}
    rate = 2 * MATRIX**3 / median["matmul"]
    n, height, width = CASES[case]
    result: dict[str, Any] = {
        "seconds": {side: round(value, 4) for side, value in median.items() if side != "matmul"},
        "all_seconds": {side: [round(t, 4) for t in values] for side, values in times.items()},
        "compile_seconds": {
            side: round(first[side] - median[side], 2) for side in first if side != "release"
        },
        "matmul_gflops": round(rate / 1e9, 1),
    }
    if case.startswith("fuse"):
        least = 2 * MULTIPLY_ADDS * n * height * width / rate
        result["share_of_matmul_rate"] = round(least / median["ours"], 3)
    if release:
        result["speed_ratio"] = round(median["release"] / median["ours"], 2)
        # On a machine that others use too, the best round is the one they disturbed least.
        result["speed_ratio_of_best"] = round(min(times["release"]) / min(times["ours"]), 2)
        result["rival_ratios"] = {
            side: round(median[side] / median["ours"], 2) for side in others if side in median
        }
    if with_memory:
        peaks = {"ours": peak_memory(case, None)}
        if release:
            peaks["release"] = peak_memory(case, release)
            result["memory_ratio"] = round(peaks["release"] / peaks["ours"], 2)
        result["peak_bytes"] = peaks
    return result


def table(results: dict[str, Any]) -> str:
    """Return one line per case; ratios are theirs over ours."""
    columns = (
        "ours s",
        "release s",
        "ratio",
        "of best",
        "of matmul",
        "compile s",
        "ours GB",
        "release GB",
    )
    lines = [f"{'':12}" + "".join(f"{name:>12}" for name in columns)]

    def cell(value, form):
        return f"{'-' if value is None else format(value, form):>12}"

    for case, row in results.items():
        peaks = {side: peak / 1e9 for side, peak in row.get("peak_bytes", {}).items()}
        values = (
            (row["seconds"]["ours"], ".3f"),
            (row["seconds"].get("release"), ".3f"),
            (row.get("speed_ratio"), ".2f"),
            (row.get("speed_ratio_of_best"), ".2f"),
            (row.get("share_of_matmul_rate"), ".0%"),
            (row["compile_seconds"]["ours"], ".1f"),
            (peaks.get("ours"), ".2f"),
            (peaks.get("release"), ".2f"),
        )
        lines.append(f"{case:12}" + "".join(cell(*value) for value in values))
        for rival, ratio in row.get("rival_ratios", {}).items():
            lines.append(f"{'':12}{rival}: {row['seconds'][rival]:.3f} s, {ratio:.2f} of ours")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table and write the result."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--release", metavar="DIR", help="a checkout of the PyTorch release")
    parser.add_argument("--rivals", action="store_true", help="see above; needs --release")
    parser.add_argument("--only", default=",".join(CASES), help="cases; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median counts")
    parser.add_argument("--no-memory", action="store_true", help="leave out peak memory")
    parser.add_argument("--note", help="what a reader must know of the machine, kept in the result")
    parser.add_argument("--out", type=Path, default=RESULT, metavar="FILE")
    parser.add_argument("--as-child", action="store_true", help="print one case's memory and end")
    given = parser.parse_args()
    cases = given.only.split(",")
    if unknown := [case for case in cases if case not in CASES]:
        raise InputError(f"--only takes {', '.join(CASES)}, got {', '.join(unknown)}")
    if given.rounds < 1:
        raise InputError(f"--rounds must be at least 1, got {given.rounds}")
    if given.as_child:
        params = random_params()
        side = functools.partial(theirs, release=given.release) if given.release else ours
        function = side(cases[0], params)
        before = memory("VmRSS")
        function(), function()
        print(memory("VmHWM") - before)
        return
    if given.rivals and not given.release:
        raise InputError("--rivals run the release's network: give --release DIR")
    others = [rival for rival in rivals.FUSERS if rival != "release"] if given.rivals else []
    results = {}
    for case in cases:
        report(f"{case} ...")
        results[case] = measure(case, given.release, others, given.rounds, not given.no_memory)
    versions = {"python": platform.python_version(), "jax": jax.__version__}
    if given.release:
        versions["torch"] = version("torch")
    if given.rivals:
        versions |= {name: version(name) for name in ("onnxruntime", "openvino")}
    whole = {
        "device": jax.devices()[0].device_kind,
        "threads": THREADS,
        "rounds": given.rounds,
        "note": given.note,
        "versions": versions,
        "cases": results,
    }
    with replacing(given.out) as temporary:
        temporary.write_text(json.dumps(whole, indent=2) + "\n")
    print(table(results))


if __name__ == "__main__":
    huge_pages.restart()
    run(main)
