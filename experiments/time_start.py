"""What a first picture and a first update cost, from the start of the process.

    python experiments/time_start.py [--beside DIR] [--rounds 5] [--out FILE]

`fuse` of one 256x256 pair with the weights in the package, from process start to file, with an
empty compilation cache and with a full one; and an update of stage II (1 pair of 128x128) traced,
lowered and compiled or read from the cache, of which only that is timed. DIR is another checkout of
this project: the two take turns. CPU seconds (user and system, all threads) and wall time, medians.
Writes experiments/results/time_start.json. Linux or macOS.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from cddfuse_jax.console import ArgumentParser, progress, run
from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import replacing

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).parent / "results" / "time_start.json"
COMPILE = """
import functools, time
import jax
from cddfuse_jax.models.cddfuse import MODULES, CDDFuse
from cddfuse_jax.runtime.compilation_cache import enable
from cddfuse_jax.training.losses import fusion_loss
from cddfuse_jax.training.optimizers import adam, learning_rate
from cddfuse_jax.training.update import Stage, init_state, update
enable()
model, optimizers = CDDFuse(), dict.fromkeys(MODULES, adam(learning_rate(100)))
stage = Stage("fusion", functools.partial(fusion_loss, model=model), MODULES)
images = jax.ShapeDtypeStruct((1, 128, 128, 1), "float32")
start, cpu = time.perf_counter(), time.process_time()
params = jax.eval_shape(model.init, jax.random.key(0), images, images)["params"]
state = jax.eval_shape(lambda params: init_state(params, optimizers), params)
step = jax.jit(functools.partial(update, stage=stage, optimizers=optimizers), donate_argnums=0)
step.lower(state, images, images).compile()
print(time.process_time() - cpu, time.perf_counter() - start)
"""


def measured(command: list[str], root: Path, cache: Path) -> tuple[float, float]:
    """Run a command of a checkout; return its CPU and wall seconds, or those that it prints."""
    settings = {"PYTHONPATH": str(root), "JAX_COMPILATION_CACHE_DIR": str(cache)}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *command], env=os.environ | settings, capture_output=True, text=True
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise InputError(f"{root}: {done.stderr.strip()}")
    if command[0] == "-c":
        cpu, wall = map(float, done.stdout.split())
        return cpu, wall
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def medians(values: list[tuple[float, float]]) -> dict[str, float]:
    """Return the medians of CPU and wall seconds."""
    cpu, wall = (round(statistics.median(column), 2) for column in zip(*values, strict=True))
    return {"cpu_seconds": cpu, "wall_seconds": wall}


def main() -> None:
    """Measure, print and write the result."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--beside", type=Path, metavar="DIR", help="another checkout")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median counts")
    parser.add_argument("--out", type=Path, default=RESULT, metavar="FILE")
    given = parser.parse_args()
    roots = {"here": ROOT} | ({"beside": given.beside.resolve()} if given.beside else {})
    times: dict[str, dict[str, list[tuple[float, float]]]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, image in zip(("vi", "ir"), synthetic_pair(0, 256, 256), strict=True):
            Image.fromarray(np.uint8(255 * image)).save(folder / f"{name}.png")
        files = [f"--{name}={folder / name}.png" for name in ("vi", "ir")]
        fuse = ["-m", "cddfuse_jax.fuse", *files, "--out", f"{folder}/fused.png", "--overwrite"]
        works = {"fuse 256x256": fuse, "update 128x128": ["-c", COMPILE]}
        for turn in progress(range(given.rounds), "rounds"):
            for name, root in roots.items():
                cache = folder / f"{name}{turn}"
                for work, command in works.items():
                    for state in ("cold", "warm"):
                        kept = times.setdefault(f"{work}, {state} cache", {})
                        kept.setdefault(name, []).append(measured(command, root, cache))
    rows = {
        work: {name: medians(values) for name, values in sides.items()}
        for work, sides in times.items()
    }
    versions = {"python": platform.python_version(), "jax": jax.__version__}
    whole = {"rounds": given.rounds, "cores": os.cpu_count(), "versions": versions, "rows": rows}
    with replacing(given.out) as temporary:
        temporary.write_text(json.dumps(whole, indent=2) + "\n")
    for work, sides in rows.items():
        print(work, sides)


if __name__ == "__main__":
    run(main)
