"""Time and memory of fusing and of a training step, compared with the PyTorch release.

    python experiments/benchmark.py [--release DIR] [--rivals] [--only fuse128,train1] [--out FILE]

With --rivals, fusing at 128x128 is also done by torch.compile, ONNX Runtime and OpenVINO (pip
install onnx onnxscript onnxruntime openvino). Each side is a process of its own, with the same
weights, images and number of threads; they take turns (ours, theirs, ours, ...), every run waits
for its result, compiling is timed apart, and the median of the rounds counts. A turn repeats the
run for a second, at least twice, and gives the median of all runs but the first: a process that has
waited pays for memory that the system took back meanwhile.
One more process multiplies two float32 matrices: the rate that bounds the network's minimal
arithmetic. Peak memory is of the first two runs, above what the process held before them (the
libraries and the weights). Needs the ``torch`` extra with --release. Writes
experiments/results/benchmark.json. All processes have huge pages, as commands have them: all sides
gain by it.
"""

import contextlib
import functools
import json
import math
import multiprocessing
import os
import platform
import re
import statistics
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
from cddfuse_jax.console import ArgumentParser, report, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import replacing
from cddfuse_jax.fusing.whole import make_fuse
from cddfuse_jax.models.cddfuse import MODULES, CDDFuse
from cddfuse_jax.training.losses import fusion_loss
from cddfuse_jax.training.optimizers import adam, learning_rate
from cddfuse_jax.training.update import Stage, init_state, update

RESULT = Path(__file__).parent / "results" / "benchmark.json"
MULTIPLY_ADDS = 1.10e6  # per pixel of a pair: the least that this network takes
TURN = 1.0  # seconds
PAUSE = 0.5  # seconds before each run: other libraries' threads wait for work by spinning
MATRIX = 2048  # rows and columns of the product that gives the machine's rate
RIVALS_CASE = "fuse128"
CASES = {  # pairs, height, width; a name says what is done with them
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
        return functools.partial(
            make_fuse(CDDFuse.from_params(params), params), visible[0], infrared[0]
        )
    model = CDDFuse()
    optimizers = dict.fromkeys(MODULES, adam(learning_rate(100)))
    stage = Stage("fusion", functools.partial(fusion_loss, model=model), MODULES)
    pure = functools.partial(update, stage=stage, optimizers=optimizers)
    step = jax.jit(pure, donate_argnums=0)
    state = jax.device_put(init_state(params, optimizers))

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
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def memory(field: str) -> int:
    """Bytes that this process holds (``VmRSS``) or held at most (``VmHWM``)."""
    # Not getrusage: there, a child process starts with its parent's maximum.
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", status)[1])


class Side:
    """One side of a comparison, in a process of its own that waits to be asked for a run.

    In one process, libraries slow each other: their threads, and what memory the allocators hold.
    """

    def __init__(self, name: str, case: str, release: str | None):
        processes = multiprocessing.get_context("spawn")
        self.name = name
        self._pipe, theirs = processes.Pipe()
        arguments = (theirs, name, case, release)
        self._process = processes.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        self.first, self.peak_bytes = self._answer()

    def _answer(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError as error:
            raise InputError(f"{self.name} stopped; what it printed is above") from error

    def turn(self) -> float:
        """Wall time of a run, after a pause and a run that is not counted."""
        time.sleep(PAUSE)
        self._pipe.send("run")
        return self._answer()

    def end(self) -> None:
        """Let the process go, with its memory."""
        self._pipe.close()
        self._process.join()


def _serve(pipe, name: str, case: str, release: str | None) -> None:
    """Make two runs, send the first one's seconds and both's memory, then time runs as asked."""
    run_once = timed(name, case, release)
    before = memory("VmRSS")
    first, _ = seconds(run_once), seconds(run_once)
    pipe.send((first, memory("VmHWM") - before))
    with contextlib.suppress(EOFError):
        while pipe.recv():
            times = [seconds(run_once)]
            while len(times) < 2 or sum(times) < TURN:
                times.append(seconds(run_once))
            pipe.send(statistics.median(times[1:]))


def timed(name: str, case: str, release: str | None) -> Callable[[], Any]:
    """Return what a side repeats."""
    if name == "matmul":
        square = jax.random.uniform(jax.random.key(0), (MATRIX, MATRIX))
        return lambda: jax.block_until_ready(square @ square)
    params = random_params()
    return ours(case, params) if name == "ours" else theirs(case, params, release, name)


def measure(case: str, release: str | None, others: list[str], rounds: int) -> dict[str, Any]:
    """Return times in seconds, memory in bytes, and ratios: theirs over ours."""
    names = ["ours", *(["release"] if release else []), *others]
    sides = [Side(name, case, release) for name in (*names, "matmul")]
    times: dict[str, list[float]] = {side.name: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            times[side.name].append(side.turn())
    for side in sides:
        side.end()
    median = {side: statistics.median(values) for side, values in times.items()}
    rate = 2 * MATRIX**3 / median["matmul"]
    n, height, width = CASES[case]
    result: dict[str, Any] = {
        "seconds": {name: round(median[name], 4) for name in names},
        "all_seconds": {side: [round(t, 4) for t in values] for side, values in times.items()},
        "compile_seconds": {
            side.name: round(side.first - median[side.name], 2)
            for side in sides
            if side.name not in ("release", "matmul")
        },
        "peak_bytes": {side.name: side.peak_bytes for side in sides if side.name in names},
        "matmul_gflops": round(rate / 1e9, 1),
        "ratios": {name: round(median[name] / median["ours"], 2) for name in names[1:]},
    }
    if case.startswith("fuse"):
        least = 2 * MULTIPLY_ADDS * n * height * width / rate
        result["share_of_matmul_rate"] = round(least / median["ours"], 3)
    return result


def table(results: dict[str, Any]) -> str:
    """Return one line per case and side; ratios are a side's time over ours."""
    columns = ("seconds", "ratio", "of matmul", "compile s", "peak GB")
    lines = [f"{'':30}" + "".join(f"{name:>11}" for name in columns)]
    for case, row in results.items():
        for side, seconds_of_side in row["seconds"].items():
            share = row.get("share_of_matmul_rate") if side == "ours" else None
            values = (
                (seconds_of_side, ".3f"),
                (row["ratios"].get(side), ".2f"),
                (share, ".0%"),
                (row["compile_seconds"].get(side), ".1f"),
                (row["peak_bytes"][side] / 1e9, ".2f"),
            )
            cells = ("-" if value is None else format(value, form) for value, form in values)
            lines.append(f"{case:14}{side:16}" + "".join(f"{cell:>11}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table and write the result."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--release", metavar="DIR", help="a checkout of the PyTorch release")
    parser.add_argument("--rivals", action="store_true", help="see above; needs --release")
    parser.add_argument("--only", default=",".join(CASES), help="cases; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median counts")
    parser.add_argument("--note", help="what a reader must know of the machine, kept in the result")
    parser.add_argument("--out", type=Path, default=RESULT, metavar="FILE")
    given = parser.parse_args()
    cases = given.only.split(",")
    if unknown := [case for case in cases if case not in CASES]:
        raise InputError(f"--only takes {', '.join(CASES)}, got {', '.join(unknown)}")
    if given.rounds < 1:
        raise InputError(f"--rounds must be at least 1, got {given.rounds}")
    if given.rivals and not given.release:
        raise InputError("--rivals run the release's network: give --release DIR")
    others = [rival for rival in rivals.FUSERS if rival != "release"] if given.rivals else []
    results = {}
    for case in cases:
        report(f"{case} ...")
        here = others if case == RIVALS_CASE else []
        results[case] = measure(case, given.release, here, given.rounds)
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
