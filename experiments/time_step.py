"""Time one update of a config's network and batch, on random images.

    python experiments/time_step.py configs/ivf.py [--config.batch_size=4 ...]

Prints compile time and the median of three updates of both stages, and the process's peak memory.
"""

import functools
import resource
import statistics
import sys
import time

import jax

from cddfuse_jax import config as configs
from cddfuse_jax.training.recipe import make_model, make_optimizers, make_stages, starting_params
from cddfuse_jax.training.update import init_state, update


def main(path: str, overrides: list[str]) -> None:
    """Print the measurement."""
    config = configs.load(path, overrides)
    model, side = make_model(config), config.data.crop or 128
    optimizers = make_optimizers(config, steps_per_epoch=100)
    state = jax.jit(lambda: init_state(starting_params(config, model), optimizers))()
    shape = (2, config.batch_size, side, side, 1)
    visible, infrared = jax.random.uniform(jax.random.key(1), shape)
    for stage in make_stages(config, model):
        pure = functools.partial(update, stage=stage, optimizers=optimizers)
        clock = time.perf_counter()
        step = jax.jit(pure, donate_argnums=0).lower(state, visible, infrared).compile()
        compiled = time.perf_counter() - clock
        times = []
        for _ in range(4):
            clock = time.perf_counter()
            state, _metrics = jax.block_until_ready(step(state, visible, infrared))
            times.append(time.perf_counter() - clock)
        print(
            f"{path}, {stage.name}: {config.batch_size} pairs of {side}x{side}, "
            f"compiled in {compiled:.1f} s, update {statistics.median(times[1:]):.2f} s"
        )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
