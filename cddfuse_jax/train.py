"""Train CDDFuse in two stages.

    python -m cddfuse_jax.train --config=configs/roadscene.py --workdir=DIR [--config.FIELD=VALUE]

Started again with the same workdir, it goes on where it stopped. Ctrl-C saves and stops. All
devices are used; docs/pods.md tells how to use several machines.
"""

import argparse
import functools
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
from ml_collections import ConfigDict

from cddfuse_jax import config as configs
from cddfuse_jax.config import check, check_resumable
from cddfuse_jax.console import ArgumentParser, report
from cddfuse_jax.data.pipeline import batches, make_sources, prefetch, steps_per_epoch
from cddfuse_jax.decomposition.pictures import decomposition_picture
from cddfuse_jax.distributed import address, processes
from cddfuse_jax.models.precision import computed
from cddfuse_jax.runtime import compilation_cache
from cddfuse_jax.runtime.program import start
from cddfuse_jax.training.checkpoints import Checkpoints
from cddfuse_jax.training.devices import Devices, Update
from cddfuse_jax.training.held_out import HeldOut
from cddfuse_jax.training.log import TrainLog
from cddfuse_jax.training.optimizers import Optimizer
from cddfuse_jax.training.recipe import (
    make_model,
    make_optimizers,
    make_stages,
    starting_params,
)
from cddfuse_jax.training.update import Stage, TrainState, init_params, init_state, update


def train_and_evaluate(
    config: ConfigDict,
    workdir: str | Path,
    should_stop: Callable[[int], bool] = lambda step: False,
) -> TrainState:
    """Train both stages, from the newest checkpoint in ``workdir`` if there is one.

    Args:
        config: see `config.release`.
        workdir: takes ``checkpoints``, ``tensorboard`` and ``pictures``.
        should_stop: asked after each update, with the count of updates so far, whether to save and
            return. A run stopped so and started again ends bit for bit as one never stopped. With
            several processes, all must say the same.

    Returns:
        The last state.

    Raises:
        InputError: the config or the data cannot be used, or disagrees with the checkpoint.
        CheckpointError: a checkpoint cannot be written.
        NonFiniteError: a loss part or gradient is no longer finite.
    """
    check(config)
    workdir = Path(workdir)
    devices = Devices(config.parallel, config.batch_size, config.accumulate)
    source, held_out_source = make_sources(config)
    epoch = steps_per_epoch(source, config.batch_size, config.data.crops_per_pair)
    dataset = batches(
        source,
        batch_size=config.batch_size,
        seed=config.seed,
        crop=config.data.crop,
        flip=config.data.flip,
        crops_per_pair=config.data.crops_per_pair,
        share=(jax.process_index(), jax.process_count()),
    )
    held_out = held_out_source and HeldOut(held_out_source, config.held_out.crop, config.precision)
    model = make_model(config)
    optimizers = make_optimizers(config, epoch)
    stages = make_stages(config, model)
    updates = [mapped_update(config, devices, stage, optimizers) for stage in stages]
    fusion_start = config.reconstruction_epochs * epoch
    total = fusion_start + config.fusion_epochs * epoch

    checkpoints = Checkpoints(workdir, config.keep_checkpoints, landmarks=[fusion_start])
    meta = {
        "config": config.to_dict(),
        "steps_per_epoch": epoch,
        "pairs": len(source),
        "held out": len(held_out_source or ()),
    }

    def first_state(params):
        return init_state(params, optimizers, ema=config.ema > 0)

    key = jax.random.key(config.seed)
    like = devices.shapes(lambda: first_state(init_params(model, key)))
    state = checkpoints.restore_newest(like, lambda saved: check_resumable(saved, meta))
    if state is not None:
        report(f"resuming {workdir} after step {int(state.step)} of {total}")
    else:
        state = devices.build(lambda: first_state(starting_params(config, model)))
    start = int(state.step)

    with TrainLog(
        workdir, epoch, total, start, config.log_every, writes=processes.is_first()
    ) as log:

        def picture(step):
            pair = {name: image[:320, :320] for name, image in source[0].items()}
            params = jax.device_get(
                state.fusing_params
            )  # one process draws, on a device of its own
            exact = model.clone(dtype=None)
            return log.picture(
                step, decomposition_picture(exact, params, **pair, residual=config.residual)
            )

        step, steps = start, prefetch(dataset, start)
        while step < total:
            stage = stages[step >= fusion_start]
            batch = next(steps)
            apply_update = updates[step >= fusion_start]
            state, metrics = apply_update(state, batch["visible"], batch["infrared"])
            step += 1
            log.update(step, stage.name, metrics, pairs=config.batch_size)

            milestone = step in (fusion_start, total)
            stopping, is_best = should_stop(step), False
            if held_out and (milestone or step % config.held_out.every == 0):
                log.flush()
                losses = held_out.loss(stage, state.fusing_params)
                log.held_out(step, stage.name, losses)
                is_best = checkpoints.is_best(step, stage.name, losses["total"])
            if stopping or milestone or is_best or step % config.checkpoint_every == 0:
                log.flush()  # a state that is not finite must not be saved
                checkpoints.save(state, meta)
            if log.writes and step % (config.picture_every * epoch) == 0 and step < total:
                picture(step)
            if stopping:
                break
        if log.writes and step == total:
            report(f"trained {total} steps")
            print("checkpoint:", workdir / "checkpoints" / str(total))
            if checkpoints.best:
                print("best:      ", workdir / "checkpoints" / str(checkpoints.best.step))
            print("scalars:   ", workdir / "tensorboard")
            print("picture:   ", picture(total))
            print("            rows: visible, infrared, fused; columns: image, base, detail")
    checkpoints.close()
    return state


def mapped_update(
    config: ConfigDict, devices: Devices, stage: Stage, optimizers: Mapping[str, Optimizer]
) -> Update:
    """Return a stage's update over all devices, as the config says."""
    bound = functools.partial(
        update,
        stage=stage,
        optimizers=optimizers,
        ema=config.ema,
        accumulate=config.accumulate,
    )
    return devices.mapped(computed(bound, config.precision))


def main() -> int:
    """Read the arguments and train; 130 after Ctrl-C, 0 after SIGTERM: both leave a checkpoint."""
    parser = ArgumentParser(
        prog="python -m cddfuse_jax.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Every field of the config is an option: --config.batch_size=4, "
        "--config.data.crop=96, ... The fields and their meaning: cddfuse_jax/config/fields.py.",
    )
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE",
        help="a config file, or the name of one that comes with the package, such as ivf",
    )
    parser.add_argument(
        "--workdir",
        required=True,
        metavar="DIR",
        help="takes checkpoints, TensorBoard scalars and pictures",
    )
    address.add_options(parser)
    arguments, overrides = parser.parse_known_args()
    for argument in overrides:
        if not (argument.startswith("--config.") and "=" in argument):
            parser.error(
                f"unexpected argument {argument!r}; fields are set by --config.FIELD=VALUE"
            )
    config = configs.load(arguments.config, overrides)
    compilation_cache.enable()
    with processes.joined(address.given_address(arguments), stop_together=True):
        stop = processes.StopSignal()
        state = train_and_evaluate(config, arguments.workdir, stop)
    if stop.received is None:
        return 0
    report(f"stopped after step {int(state.step)}, saved; the same command goes on from there")
    return 130 if stop.received == signal.SIGINT else 0


if __name__ == "__main__":
    start(main)
