"""The checkpoints of a training run: ``WORKDIR/checkpoints/STEP/{params,ema,optimizer,meta}``.

A step is written under another name and renamed when it is whole; ``meta`` keeps a digest of its
numbers, so that damage which still reads as a checkpoint is found as well.
"""

import contextlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from cddfuse_jax.console import report
from cddfuse_jax.errors import InputError, one_line
from cddfuse_jax.training.distributed import gathered, is_first, wait_for_all
from cddfuse_jax.training.update import TrainState
from cddfuse_jax.weights.any_format import checkpoint_root
from cddfuse_jax.weights.identity import digest


class CheckpointError(InputError):
    """A checkpoint could not be written; those before it are as they were."""

    exit_code = 1


class Best(NamedTuple):
    """The checkpoint with the lowest loss on held-out pairs; those of two stages do not compare."""

    step: int
    stage: str
    loss: float


class Checkpoints:
    """The checkpoints of one run: the newest ``keep``, the best, and the ``landmarks`` are kept.

    With several processes, all must make the same calls in the same order.

    Attributes:
        best: of those saved so far, None before any loss was given.
    """

    def __init__(self, workdir: str | os.PathLike, keep: int = 3, landmarks: Collection[int] = ()):
        self.best: Best | None = None
        self._keep, self._landmarks = keep, landmarks
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self,
            # The next update overwrites the donated buffers that a save reads.
            enable_async_checkpointing=False,
            # What a killed run left of a save.
            cleanup_tmp_directories=True,
        )
        self._root = checkpoint_root(workdir)
        try:
            self._manager = ocp.CheckpointManager(self._root, options=options)
        except OSError as error:
            raise InputError(f"cannot write {self._root}: {error.strerror or error}") from None

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Choose for Orbax which of the checkpoints, in the order of their steps, to keep."""
        del context
        kept = {checkpoint.step for checkpoint in checkpoints[-self._keep :]}
        kept.update(self._landmarks, [self.best.step] if self.best else [])
        return [checkpoint.step in kept for checkpoint in checkpoints]

    def is_best(self, step: int, stage: str, loss: float) -> bool:
        """Take the loss on held-out pairs; return whether it is the lowest of its stage.

        If so, the state of that step is to be saved at once.
        """
        if self.best and self.best.stage == stage and self.best.loss <= loss:
            return False
        self.best = Best(step, stage, loss)
        return True

    def latest_step(self) -> int | None:
        """Return the step of the newest whole checkpoint."""
        return self._manager.latest_step()

    def save(self, state: TrainState, meta: dict[str, Any]) -> None:
        """Write the state under its step, and ``meta`` as JSON; else raise `CheckpointError`."""
        step, last = int(state.step), self.latest_step()
        if step == last:
            return
        optimizer = {"step": state.step, "opt_state": state.opt_state}
        mean = {} if state.ema is None else {"ema": ocp.args.StandardSave(state.ema)}
        best = list(self.best) if self.best else None
        try:
            with _quietly():
                self._manager.save(
                    step,
                    args=ocp.args.Composite(
                        params=ocp.args.StandardSave(state.params),
                        optimizer=ocp.args.StandardSave(optimizer),
                        meta=ocp.args.JsonSave(meta | {"best": best, "digest": digest(state)}),
                        **mean,
                    ),
                )
        except jax.errors.JaxRuntimeError:  # a process was lost: see `distributed.joined`
            raise
        except Exception as error:  # depends on which of its files could not be written
            kept = "there is none before it" if last is None else f"that of step {last} is whole"
            raise CheckpointError(
                f"the checkpoint of step {step} could not be written to {self._root} "
                f"({_reason(error)}); {kept}: make room and give the same command again"
            ) from None

    def restore_newest(
        self, like: TrainState, check: Callable[[dict[str, Any]], None]
    ) -> TrainState | None:
        """Return the newest whole state, or None; report damaged ones, renamed STEP.broken.

        ``like`` is as in `restore`; ``check`` raises `InputError` if a checkpoint of that ``meta``
        is not to be used.
        """
        while (step := self.latest_step()) is not None:
            state, damage = None, ""
            try:
                meta = self.meta(step)
                check(meta)
                state = self.restore(step, like)
                if meta.get("digest", "") not in ("", digest(state)):
                    damage = "its numbers are not those that were saved"
            except InputError:
                raise
            except Exception as error:  # depends on the byte that is damaged
                damage = one_line(error)
            if not gathered(np.array(bool(damage))).any():
                self.best = Best(*meta["best"]) if meta.get("best") else None
                return state
            self._set_aside(step, damage)
        return None

    def _set_aside(self, step: int, damage: str) -> None:
        if is_first():
            number, place = 1, self._root / f"{step}.broken"
            while place.exists():
                number, place = number + 1, self._root / f"{step}.broken{number}"
            os.rename(self._root / str(step), place)
            report(f"warning: the checkpoint of step {step} is damaged ({damage}); now {place}")
        wait_for_all()  # no process reads the list before it is renamed
        self._manager.reload()

    def meta(self, step: int) -> dict[str, Any]:
        """Return what was saved as ``meta`` with a step."""
        return self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))[
            "meta"
        ]

    def restore(self, step: int, like: TrainState) -> TrainState:
        """Return the state of a step; ``like`` has its shapes, and the shardings it is to have."""
        optimizer = {"step": like.step, "opt_state": like.opt_state}
        mean = {} if like.ema is None else {"ema": ocp.args.StandardRestore(like.ema)}
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardRestore(like.params),
                optimizer=ocp.args.StandardRestore(optimizer),
                **mean,
            ),
        )
        means = {"ema": restored["ema"]} if mean else {}
        return TrainState(params=restored["params"], **restored["optimizer"], **means)

    def close(self) -> None:
        """Let go of the folder."""
        self._manager.close()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Say nothing of what Orbax's threads print of a failure, which is raised anyway.

    They print it late and in several ways, so that they stay silent after a failure, which ends the
    run.
    """
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    before, hook = [logger.level for logger in loggers], sys.unraisablehook
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda found: None  # by which TensorStore's threads print
    try:
        yield
    except Exception:
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        raise
    sys.unraisablehook = hook
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


def _reason(error: Exception) -> str:
    """Return the operating system's words in the libraries' message, or else all of it."""
    found = re.search(r"([^:]+) \[os_error_code=", str(error))
    return found[1].strip() if found else one_line(error)
