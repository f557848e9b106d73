"""Train CDDFuse in two stages.

    python -m cddfuse_jax.train --config=configs/roadscene.py --workdir=DIR [--config.FIELD=VALUE]

Started again with the same workdir, it goes on where it stopped. Ctrl-C saves and stops. All
devices are used; docs/pods.md tells how to use several machines.
"""

import argparse
import functools
import signal
from collections.abc import Callable
from pathlib import Path

import jax
from ml_collections import ConfigDict

from cddfuse_jax import config as configs
from cddfuse_jax.console import ArgumentParser, report
from cddfuse_jax.data.pipeline import batches, make_source, prefetch, steps_per_epoch
from cddfuse_jax.decomposition.pictures import decomposition_picture
from cddfuse_jax.distributed import address, processes
from cddfuse_jax.models.precision import computed
from cddfuse_jax.runtime import compilation_cache
from cddfuse_jax.runtime.program import start
from cddfuse_jax.training.checkpoints import Checkpoints
from cddfuse_jax.training.devices import Devices
from cddfuse_jax.training.log import TrainLog
from cddfuse_jax.training.optimizers import adam, learning_rate
from cddfuse_jax.training.recipe import check_resumable, make_model, make_stages
from cddfuse_jax.training.update import TrainState, init_state, update


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
    workdir = Path(workdir)
    devices = Devices(config.parallel, config.batch_size, config.accumulate)
    source = make_source(config.data, config.skip_bad_pairs)
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
    model = make_model(config)
    schedule = learning_rate(epoch, **config.learning_rate)
    optimizer = adam(schedule, config.clip_norm)
    updates = [
        (
            stage,
            devices.mapped(
                computed(
                    functools.partial(
                        update,
                        stage=stage,
                        optimizer=optimizer,
                        schedule=schedule,
                        accumulate=config.accumulate,
                    ),
                    config.precision,
                )
            ),
        )
        for stage in make_stages(config, model)
    ]
    fusion_start = config.reconstruction_epochs * epoch
    total = fusion_start + config.fusion_epochs * epoch

    checkpoints = Checkpoints(workdir, config.keep_checkpoints)
    meta = {"config": config.to_dict(), "steps_per_epoch": epoch, "pairs": len(source)}
    state = devices.build(lambda: init_state(model, jax.random.key(config.seed), optimizer))
    saved = checkpoints.restore_newest(state, lambda saved: check_resumable(saved, meta))
    if saved is not None:
        state = saved
        report(f"resuming {workdir} after step {int(state.step)} of {total}")
    start = int(state.step)

    with TrainLog(
        workdir, epoch, total, start, config.log_every, writes=processes.is_first()
    ) as log:

        def picture(step):
            pair = {name: image[:320, :320] for name, image in source[0].items()}
            params = jax.device_get(state.params)  # one process draws, so on a device of its own
            exact = model.clone(dtype=None)
            return log.picture(
                step, decomposition_picture(exact, params, **pair, residual=config.residual)
            )

        step, steps = start, prefetch(dataset, start)
        while step < total:
            stage, apply_update = updates[step >= fusion_start]
            batch = next(steps)
            state, metrics = apply_update(state, batch["visible"], batch["infrared"])
            step += 1
            log.update(step, stage.name, metrics, pairs=config.batch_size)

            stopping = should_stop(step)
            if stopping or step in (fusion_start, total) or step % config.checkpoint_every == 0:
                log.flush()  # a state that is not finite must not be saved
                checkpoints.save(state, meta)
            if log.writes and step % (config.picture_every * epoch) == 0 and step < total:
                picture(step)
            if stopping:
                break
        if log.writes and step == total:
            report(f"trained {total} steps")
            print("checkpoint:", workdir / "checkpoints" / str(total))
            print("scalars:   ", workdir / "tensorboard")
            print("picture:   ", picture(total))
            print("            rows: visible, infrared, fused; columns: image, base, detail")
    checkpoints.close()
    return state


def main() -> int:
    """Read the arguments and train; 130 after Ctrl-C, 0 after SIGTERM: both leave a checkpoint."""
    parser = ArgumentParser(
        prog="python -m cddfuse_jax.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Every field of the config is an option: --config.batch_size=4, "
        "--config.data.crop=96, ... The fields and their meaning: cddfuse_jax/config.py.",
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="configs/NAME.py")
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
