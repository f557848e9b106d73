"""Time and memory of fusing and of a training update on a GPU, compared with the PyTorch release.

    python experiments/time_gpu.py --release DIR [--runs 20] [--quick-compile] [--out FILE]

The sides are processes, one after the other, with the weights `ivf` and the same random images. A
run of fusing takes arrays from host memory and gives one back; an update (stage II, 8 pairs of
160x160, all four modules) takes a batch from there and waits for its result: by Muon with a running
mean here, by Adam there. Of 20 runs after the first two the median, the least and the most are
kept. Peak memory is what the process's arrays took on the GPU at most until then. Writes
experiments/results/gpu.json. ``--quick-compile`` sets `QUICK`, which see. Needs the ``torch`` extra
and JAX's and PyTorch's CUDA builds; with ``--device cpu`` it can be tried without a GPU.
"""

import functools
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cddfuse_jax.console import ArgumentParser, report, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import replacing

RESULT = Path(__file__).parent / "results" / "gpu.json"
SIZES = ((256, 256), (480, 640))
BATCH, SIDE = 8, 160
# Leaves away what XLA tries out while it compiles for a GPU (docs/speed.md says what that costs).
QUICK = (
    "--xla_gpu_enable_triton_gemm=false --xla_gpu_experimental_enable_fusion_autotuner=false "
    "--xla_gpu_autotune_level=2"
)
Case = tuple[str, Callable[[], Any]]


def images(*shape: int) -> np.ndarray:
    """Visible and infrared, (2, ...) float32 in [0, 1]."""
    return np.random.default_rng(0).random((2, *shape), np.float32)


def ours() -> Iterator[Case]:
    """Yield what is timed here by name; the first call of each compiles."""
    import jax

    from cddfuse_jax import config as configs
    from cddfuse_jax.fusing.whole import make_fuse
    from cddfuse_jax.models.cddfuse import CDDFuse
    from cddfuse_jax.models.precision import computed
    from cddfuse_jax.training.recipe import make_model, make_optimizers, make_stages
    from cddfuse_jax.training.starting import starting_params
    from cddfuse_jax.training.update import init_state, update
    from cddfuse_jax.weights.any_format import load_params

    for precision in ("float32", "bf16"):
        params = load_params("ivf")
        fuse = make_fuse(CDDFuse.from_params(params), params, precision=precision)
        for height, width in SIZES:
            yield (
                f"fuse {height}x{width}, {precision}",
                functools.partial(fuse, *images(height, width)),
            )
    path = Path(__file__).parents[1] / "configs" / "msrs.py"
    config = configs.load(str(path), ["--config.init_from=ivf"])
    model, optimizers = make_model(config), make_optimizers(config, 100)
    state = jax.device_put(init_state(starting_params(config, model), optimizers, ema=True))
    pure = functools.partial(
        update, stage=make_stages(config, model)[1], optimizers=optimizers, ema=config.ema
    )
    step = jax.jit(computed(pure, config.precision), donate_argnums=0)
    batch = images(BATCH, SIDE, SIDE, 1)

    def train():
        nonlocal state
        state, _ = jax.block_until_ready(step(state, *batch))

    yield "update, float32", train


def theirs(release: str, device: str) -> Iterator[Case]:
    """Yield the same, done by the release's modules in PyTorch eager."""
    import rivals

    from cddfuse_jax.weights.any_format import load_params

    params, threads = load_params("ivf"), os.cpu_count() or 1
    for height, width in SIZES:
        pair = images(1, height, width)
        yield (
            f"fuse {height}x{width}, float32",
            rivals.eager(release, params, *pair, threads, device),
        )
    batch = images(BATCH, SIDE, SIDE)
    yield "update, float32", rivals.training_step(release, params, *batch, threads, device)


def peak(side: str, device: str) -> int | None:
    """Bytes of the GPU that this process's arrays took at most."""
    if device == "cpu":
        return None
    if side == "release":
        import torch

        return torch.cuda.max_memory_allocated()
    import jax

    return jax.devices()[0].memory_stats()["peak_bytes_in_use"]


def _measure(pipe, side: str, release: str, device: str, runs: int) -> None:
    for name, run_once in ours() if side == "port" else theirs(release, device):
        times = []
        for _ in range(runs + 2):
            start = time.perf_counter()
            run_once()
            times.append(time.perf_counter() - start)
        kept = times[2:]
        pipe.send(
            {
                "side": side,
                "what": name,
                "first_seconds": round(times[0], 2),
                "median": round(statistics.median(kept), 5),
                "least": round(min(kept), 5),
                "most": round(max(kept), 5),
                "peak_bytes": peak(side, device),
            }
        )
    pipe.send(None)


def measured(side: str, release: str, device: str, runs: int) -> list[dict[str, Any]]:
    """Return a side's rows, from a process of its own."""
    processes = multiprocessing.get_context("spawn")
    ours_end, theirs_end = processes.Pipe()
    process = processes.Process(target=_measure, args=(theirs_end, side, release, device, runs))
    process.start()
    theirs_end.close()
    rows = []
    try:
        while row := ours_end.recv():
            report(f"{side}: {row['what']}: {row['median']:.4f} s, first {row['first_seconds']} s")
            rows.append(row)
    except EOFError as error:
        raise InputError(f"{side} stopped; what it printed is above") from error
    process.join()
    return rows


def main() -> None:
    """Measure both sides, print and write the rows."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--release", required=True, metavar="DIR", help="a checkout of the release")
    parser.add_argument("--runs", type=int, default=20, help="of which the median counts")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick-compile", action="store_true", help="set QUICK, see above")
    parser.add_argument("--out", type=Path, default=RESULT, metavar="FILE")
    given = parser.parse_args()
    if given.runs < 1:
        raise InputError(f"--runs must be at least 1, got {given.runs}")
    if not Path(given.release, "net.py").is_file():  # before the port takes minutes
        raise InputError(f"{given.release}: no net.py there; give a checkout of the release")
    os.environ["JAX_PLATFORMS"] = given.device
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # else its peak is of no use
    if given.quick_compile:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK}"
    rows = [
        row
        for side in ("port", "release")
        for row in measured(side, given.release, given.device, given.runs)
    ]
    flags = QUICK if given.quick_compile else ""
    with replacing(given.out) as temporary:
        temporary.write_text(json.dumps({"flags": flags, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
