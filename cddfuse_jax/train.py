"""Train CDDFuse in two stages.

    python -m cddfuse_jax.train --config=configs/roadscene.py --workdir=DIR [--config.FIELD=VALUE]

Started again with the same workdir, it goes on where it stopped. Ctrl-C saves and stops.
"""

import argparse
import functools
import signal
from collections.abc import Callable
from pathlib import Path

import jax
from ml_collections import ConfigDict

from cddfuse_jax import compilation_cache
from cddfuse_jax import config as configs
from cddfuse_jax.checkpoints import Checkpoints
from cddfuse_jax.commands import ArgumentParser, InputError, report, run
from cddfuse_jax.data.pipeline import batches, make_source, prefetch, steps_per_epoch
from cddfuse_jax.losses import LossWeights, fusion_loss, reconstruction_loss
from cddfuse_jax.models.cddfuse import MODULES, RESIDUALS, CDDFuse
from cddfuse_jax.optimizers import adam, learning_rate
from cddfuse_jax.pictures import decomposition_picture
from cddfuse_jax.train_log import TrainLog
from cddfuse_jax.train_step import Stage, TrainState, init_state, update


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
            return. A run stopped so and started again ends bit for bit as one never stopped.

    Returns:
        The last state.

    Raises:
        InputError: the config or the data cannot be used, or disagrees with the checkpoint.
        NonFiniteError: a loss part or gradient is no longer finite.
    """
    workdir = Path(workdir)
    source = make_source(config.data)
    epoch = steps_per_epoch(source, config.batch_size, config.data.crops_per_pair)
    dataset = batches(
        source,
        batch_size=config.batch_size,
        seed=config.seed,
        crop=config.data.crop,
        flip=config.data.flip,
        crops_per_pair=config.data.crops_per_pair,
    )
    model = make_model(config)
    schedule = learning_rate(epoch, **config.learning_rate)
    optimizer = adam(schedule, config.clip_norm)
    updates = [
        (
            stage,
            jax.jit(
                functools.partial(update, stage=stage, optimizer=optimizer, schedule=schedule),
                donate_argnums=0,
            ),
        )
        for stage in make_stages(config, model)
    ]
    fusion_start = config.reconstruction_epochs * epoch
    total = fusion_start + config.fusion_epochs * epoch

    checkpoints = Checkpoints(workdir, config.keep_checkpoints)
    meta = {"config": config.to_dict(), "steps_per_epoch": epoch}
    state = jax.jit(init_state, static_argnums=(0, 2))(
        model, jax.random.key(config.seed), optimizer
    )
    if (saved := checkpoints.latest_step()) is not None:
        check_resumable(checkpoints.meta(saved), meta)
        state = checkpoints.restore(saved, like=state)
        report(f"resuming {workdir} after step {saved} of {total}")
    start = int(state.step)

    with TrainLog(workdir, epoch, total, start, config.log_every) as log:

        def picture(step):
            pair = {name: image[:320, :320] for name, image in source[0].items()}
            return log.picture(
                step, decomposition_picture(model, state.params, **pair, residual=config.residual)
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
            if step % (config.picture_every * epoch) == 0 and step < total:
                picture(step)
            if stopping:
                break
        if step == total:
            report(f"trained {total} steps")
            print("checkpoint:", workdir / "checkpoints" / str(total))
            print("scalars:   ", workdir / "tensorboard")
            print("picture:   ", picture(total))
            print("            rows: visible, infrared, fused; columns: image, base, detail")
    checkpoints.close()
    return state


def make_model(config: ConfigDict) -> CDDFuse:
    """Return the network that a config describes.

    Raises:
        InputError: its sizes do not fit each other.
    """
    sizes = config.model
    if min(sizes.features, sizes.heads, sizes.blocks, sizes.coupling_layers) < 1:
        raise InputError("config.model: features, heads, blocks and coupling_layers start at 1")
    if sizes.features % sizes.heads or sizes.features % 2:
        raise InputError(
            "config.model.features must be even and a multiple of heads, "
            f"got features={sizes.features}, heads={sizes.heads}"
        )
    return CDDFuse(**sizes)


def make_stages(config: ConfigDict, model: CDDFuse) -> tuple[Stage, Stage]:
    """Return stage I, which trains encoder and decoder, and stage II, which trains all.

    Raises:
        InputError: the residual is unknown.
    """
    if config.residual not in RESIDUALS:
        raise InputError(
            f"config.residual must be one of {', '.join(RESIDUALS)}, got {config.residual!r}"
        )
    common = {"weights": LossWeights(**config.loss), "model": model}
    reconstruction = functools.partial(
        reconstruction_loss, residual=config.residual != "none", **common
    )
    fusion = functools.partial(fusion_loss, residual=config.residual, **common)
    return (
        Stage("reconstruction", reconstruction, ("encoder", "decoder")),
        Stage("fusion", fusion, MODULES),
    )


def check_resumable(saved: dict, now: dict) -> None:
    """Refuse to go on with another model or other data than the checkpoint was trained with.

    Raises:
        InputError: naming every field that shapes either and differs.
    """
    before, after = (dict(configs.flat(meta["config"])) for meta in (saved, now))
    for meta, fields in ((saved, before), (now, after)):
        fields["steps_per_epoch (pairs found)"] = meta["steps_per_epoch"]
    shaping = ("model.", "data.", "batch_size", "seed", "residual", "steps_per_epoch")
    paths = ("data.infrared", "data.visible", "data.file")  # data may move; its count is checked
    different = [
        f"{field} was {before.get(field)!r} and is {after.get(field)!r}"
        for field in sorted(before.keys() | after.keys())
        if field.startswith(shaping)
        and field not in paths
        and field != "model.remat"
        and before.get(field) != after.get(field)
    ]
    if different:
        raise InputError(
            f"this workdir was trained with another config: {'; '.join(different)}; "
            "use the same values or another --workdir"
        )


class StopSignal:
    """Ask a run to save and stop at SIGINT or SIGTERM; a second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def _receive(self, number: int, _frame) -> None:
        self.received = number
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __call__(self, step: int) -> bool:
        """Tell whether a signal came."""
        return self.received is not None


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
    arguments, overrides = parser.parse_known_args()
    for argument in overrides:
        if not (argument.startswith("--config.") and "=" in argument):
            parser.error(
                f"unexpected argument {argument!r}; fields are set by --config.FIELD=VALUE"
            )
    compilation_cache.enable()
    stop = StopSignal()
    state = train_and_evaluate(configs.load(arguments.config, overrides), arguments.workdir, stop)
    if stop.received is None:
        return 0
    report(f"stopped after step {int(state.step)}, saved; the same command goes on from there")
    return 130 if stop.received == signal.SIGINT else 0


if __name__ == "__main__":
    run(main)
