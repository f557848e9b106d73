"""A training run, from its config to its last checkpoint."""

import contextlib
import functools
import time
from collections.abc import Callable
from pathlib import Path

import jax
from ml_collections import ConfigDict

from cddfuse_jax.config import check, check_resumable
from cddfuse_jax.console import report
from cddfuse_jax.data.augmentation import CameraVariation
from cddfuse_jax.data.pipeline import batches, make_sources, prefetch, steps_per_epoch
from cddfuse_jax.errors import some
from cddfuse_jax.models.precision import computed
from cddfuse_jax.training.checkpoints import Checkpoints
from cddfuse_jax.training.decomposing import decompose
from cddfuse_jax.training.distributed import is_first
from cddfuse_jax.training.feature_pictures import grid
from cddfuse_jax.training.held_out import HeldOut
from cddfuse_jax.training.log import TrainLog
from cddfuse_jax.training.parallel import Devices
from cddfuse_jax.training.profiling import Profile
from cddfuse_jax.training.recipe import make_model, make_optimizers, make_stages
from cddfuse_jax.training.starting import check_traces, starting_params, with_sizes
from cddfuse_jax.training.update import TrainState, init_params, init_state, update
from cddfuse_jax.weights.custom_network import code_of, digests, keep_code, names_in, note_changes


def train_and_evaluate(
    config: ConfigDict,
    workdir: str | Path,
    should_stop: Callable[[int], bool] = lambda step: False,
    profile_steps: tuple[int, int] | None = None,
) -> TrainState:
    """Train both stages, from the newest checkpoint in ``workdir``; return the last state.

    ``workdir`` takes ``checkpoints``, ``tensorboard`` and ``pictures``, and in ``profile`` a trace
    of the updates from the first to the last of ``profile_steps``, counted from 1. ``should_stop``
    is asked after each update, with the count of updates so far, whether to save and return; with
    several processes, all must say the same. A run stopped so and started again ends bit for bit
    as one never stopped.

    Raises:
        InputError: the config or the data cannot be used, or disagrees with the checkpoint.
        CheckpointError: a checkpoint cannot be written.
        NonFiniteError: a loss part or gradient is no longer finite.
    """
    workdir = Path(workdir)
    config = with_sizes(config, workdir)
    check(config)
    model = make_model(config)
    params_like = check_traces(config, model)
    stages = make_stages(config, model, params_like)
    devices = Devices(config.parallel, config.batch_size, config.accumulate)
    source, held_out_source = make_sources(config)
    epoch = steps_per_epoch(source, config.batch_size, config.data.crops_per_pair)
    dataset = batches(
        source,
        batch_size=config.batch_size,
        seed=config.seed,
        crop=config.data.crop,
        flip=config.data.flip,
        cameras=CameraVariation(**config.data.cameras),
        crops_per_pair=config.data.crops_per_pair,
        share=(jax.process_index(), jax.process_count()),
    )
    held_out = held_out_source and HeldOut(held_out_source, config.held_out.crop, config.precision)
    optimizers = make_optimizers(config, epoch)
    fusion_start = config.reconstruction_epochs * epoch
    total = fusion_start + config.fusion_epochs * epoch

    code = code_of(names_in(config.to_dict()))
    checkpoints = Checkpoints(workdir, config.keep_checkpoints, landmarks=[fusion_start])
    meta = {
        "config": config.to_dict(),
        "steps_per_epoch": epoch,
        "pairs": len(source),
        "held out": len(held_out_source or ()),
        "held out names": held_out_source.names if held_out_source else [],
        "own": digests(code),
    }

    def first_state(params):
        return init_state(params, optimizers, config.ema > 0, stages[0].frozen)

    def check_saved(saved):
        check_resumable(saved, meta)
        note_changes(workdir, saved.get("own") or {}, names_in(meta["config"]))

    key = jax.random.key(config.seed)
    like = devices.shapes(lambda: first_state(init_params(model, key)))
    state = checkpoints.restore_newest(like, check_saved)
    if state is not None:
        report(f"resuming {workdir} after step {int(state.step)} of {total}")
    else:
        state = devices.build(lambda: first_state(starting_params(config, model)))
    if is_first():
        keep_code(workdir, code)
    start = int(state.step)
    report(
        f"{len(source)} pairs, {epoch} update{'s' * (epoch != 1)} an epoch, {total} in all, on "
        f"{devices}"
    )
    if held_out_source:
        names = meta["held out names"]
        report(f"held out: {len(names)} pairs ({some(names, 5)})")

    log = TrainLog(
        workdir,
        epoch=epoch,
        total=total,
        start=start,
        every=config.log_every,
        pairs=config.batch_size,
        devices=devices.mesh.size,
        writes=is_first(),
    )
    profile = Profile(workdir / "profile", profile_steps if is_first() else None)

    def picture(state: TrainState) -> Path:
        pair = {name: image[:320, :320, 0] for name, image in source[0].items()}
        exact, params = model.clone(dtype=None), jax.device_get(state.fusing_params)
        parts = decompose(exact, params, **pair, residual=config.residual)
        return log.picture(int(state.step), grid(parts))

    step, stopping, steps = start, False, prefetch(dataset, start)
    with log, contextlib.closing(profile):
        if held_out and start == 0:  # what the run begins with
            stage = stages[0 if fusion_start else 1]
            log.held_out(0, stage.name, held_out.loss(stage, state.fusing_params))
        for stage, end in zip(stages, (fusion_start, total), strict=True):
            apply_update = None
            while step < end and not stopping:
                profile.before(step + 1)
                asked = time.perf_counter()
                batch = next(steps)
                waited = time.perf_counter() - asked
                images = batch["visible"], batch["infrared"]
                if apply_update is None:
                    report(f"compiling the update of stage {stage.name}")
                    bound = functools.partial(
                        update,
                        stage=stage,
                        optimizers=optimizers,
                        ema=config.ema,
                        accumulate=config.accumulate,
                    )
                    exact = computed(bound, config.precision)
                    apply_update = devices.compiled(exact, state, *images)
                    log.start_clock()
                state, metrics = apply_update(state, *images)
                step += 1
                profile.after(step, metrics)
                log.update(step, stage.name, metrics, waited)

                stopping, is_best = should_stop(step), False
                if held_out and (step == end or step % config.held_out.every == 0):
                    log.flush()
                    losses = held_out.loss(stage, state.fusing_params)
                    log.held_out(step, stage.name, losses)
                    is_best = checkpoints.is_best(step, stage.name, losses["total"])
                due = step == end or step % config.checkpoint_every == 0
                if stopping or is_best or due:
                    log.flush()  # a state that is not finite must not be saved
                    checkpoints.save(state, meta)
                if log.writes and step % (config.picture_every * epoch) == 0 and step < total:
                    picture(state)
        if log.writes and step == total:
            report(f"trained {total} steps")
            print("checkpoint:", workdir / "checkpoints" / str(total))
            if checkpoints.best:
                print("best:      ", workdir / "checkpoints" / str(checkpoints.best.step))
            print("scalars:   ", workdir / "tensorboard")
            print("picture:   ", picture(state))
            print("            rows: visible, infrared, fused; columns: image, base, detail")
    checkpoints.close()
    return state
