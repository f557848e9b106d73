"""Which of XLA's CPU options make fusing and an update faster: one table, in turns in one process.

    python experiments/compile_options.py [--rounds 7] [--out FILE.json]

Fusing 128x128 and stage II's update of one 64x64 window, the shipped `ivf`. Options that this
jaxlib does not know are told and left out. Wall time and CPU time, medians over the rounds.
"""

import argparse
import functools
import json
import statistics
import time
from pathlib import Path

import jax

from cddfuse_jax import CDDFuse, load_params
from cddfuse_jax import config as configs
from cddfuse_jax.training import recipe as recipes
from cddfuse_jax.training.update import init_state, update

OPTIONS: dict[str, dict[str, str | bool | int]] = {
    "as it is": {},
    "vectors of 512 bits": {"xla_cpu_prefer_vector_width": "512"},
    "fast min and max": {"xla_cpu_enable_fast_min_max": True},
    "scheduler for concurrency": {"xla_cpu_enable_concurrency_optimized_scheduler": True},
    "scheduler for memory": {"xla_cpu_enable_concurrency_optimized_scheduler": False},
    "no fusion emitters": {"xla_cpu_use_fusion_emitters": False},
    "copies by region": {"xla_cpu_copy_insertion_use_region_analysis": True},
    "platform's own math": {"xla_cpu_enable_platform_dependent_math": True},
    "XNNPACK": {"xla_cpu_use_xnnpack": True},
    "oneDNN": {"xla_cpu_use_onednn": True},
    "YNNPACK for products": {
        "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"
    },
    "512 bits and copies by region": {
        "xla_cpu_prefer_vector_width": "512",
        "xla_cpu_copy_insertion_use_region_analysis": True,
    },
}


def programs(side: int, window: int) -> dict[str, tuple]:
    """Return what is timed, each as a function and its arguments."""
    params = load_params("ivf")
    model = CDDFuse.from_params(params)
    images = jax.random.uniform(jax.random.key(0), (2, 1, side, side, 1))
    config = configs.release()
    config.batch_size, config.data.crop = 1, window
    network = recipes.make_model(config)
    optimizers = recipes.make_optimizers(config, steps_per_epoch=100)
    state = jax.jit(lambda: init_state(recipes.starting_params(config, network), optimizers))()
    stage = recipes.make_stages(config, network)[1]
    windows = jax.random.uniform(jax.random.key(1), (2, 1, window, window, 1))
    fuse = functools.partial(model.apply, method="fuse", residual="visible")
    step = functools.partial(update, stage=stage, optimizers=optimizers)
    return {
        f"fuse {side}x{side}": (fuse, ({"params": params}, *images)),
        f"update {window}x{window}": (step, (state, *windows)),
    }


def timed(run, seconds: float) -> tuple[float, float]:
    """Return wall and CPU time of one call, over as many as take so long, the first left out."""
    jax.block_until_ready(run())
    wall, cpu, calls = time.perf_counter(), time.process_time(), 0
    while calls < 2 or time.perf_counter() - wall < seconds:
        jax.block_until_ready(run())
        calls += 1
    return (time.perf_counter() - wall) / calls, (time.process_time() - cpu) / calls


def main() -> None:
    """Print a line for each program and option as soon as the last round is over."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", nargs="*", default=list(OPTIONS), help="options, by name")
    parser.add_argument("--program", default="", help="only those whose names begin so")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found = {}
    for name, (function, arguments) in programs(given.side, given.window).items():
        if not name.startswith(given.program):
            continue
        compiled = {}
        for option in ["as it is", *(o for o in given.only if o != "as it is")]:
            lowered = jax.jit(function).lower(*arguments)
            clock = time.perf_counter()
            try:
                compiled[option] = lowered.compile(OPTIONS[option])
            except Exception as error:  # of jaxlib's own kinds
                print(name, option, "not known:", str(error).splitlines()[0][:80])
                continue
            found[f"{name}, {option}"] = {"compiling": time.perf_counter() - clock}
        times: dict[str, list[tuple[float, float]]] = {option: [] for option in compiled}
        for _ in range(given.rounds):
            for option, run in compiled.items():
                times[option].append(timed(functools.partial(run, *arguments), given.seconds))
        for option, pairs in times.items():
            wall, cpu = (statistics.median(column) for column in zip(*pairs, strict=True))
            row = found[f"{name}, {option}"]
            row |= {"wall": wall, "cpu": cpu}
            first = found[f"{name}, as it is"]
            print(
                f"{name:16s} {option:28s} {wall:.3f} s ({first['wall'] / wall:.2f}) "
                f"cpu {cpu:.3f} s ({first['cpu'] / cpu:.2f}) compiling {row['compiling']:.1f} s",
                flush=True,
            )
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
