"""Adam or Muon, clipping and the learning rate, one optimiser for each of the four modules."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from cddfuse_jax.errors import InputError

_MUON_RMS = 0.2  # of its step before the rate, about that of Adam's (Liu et al., arXiv 2502.16982)


class Optimizer(NamedTuple):
    """One module's optimiser: `optax.GradientTransformation`, and its rate by its own updates."""

    init: optax.TransformInitFn
    update: optax.TransformUpdateFn
    rate: optax.Schedule


def learning_rate(
    steps_per_epoch: int,
    updates: int = 0,
    *,
    schedule: str = "staircase",
    initial: float = 1e-4,
    decay: float = 0.5,
    decay_epochs: int = 20,
    floor: float = 1e-6,
    warmup: int = 0,
) -> optax.Schedule:
    """Return a module's learning rate by the count k of its own updates.

    ``updates`` is how many the module makes in the whole run; what follows is as in
    `config.fields`. The fusion layers' count starts with stage II, so they begin at ``initial``
    when the encoder's rate has decayed.

    "staircase", as in the release: max(initial · decay^(epoch // decay_epochs), floor) with
    epoch = k // steps_per_epoch. "cosine": from ``initial`` to ``floor`` along half a cosine over
    ``updates``. "constant": ``initial``. ``warmup`` updates count as updates of the schedule; in
    them the rate is at most initial · (k + 1) / warmup.
    """
    match schedule:
        case "staircase":
            rate = optax.exponential_decay(
                initial, decay_epochs * steps_per_epoch, decay, staircase=True, end_value=floor
            )
        case "cosine":
            if warmup > updates:
                raise InputError(
                    "config.learning_rate.warmup must be at most the updates that each module "
                    f"makes, got {warmup} for {updates}"
                )
            # A stage of no epochs leaves modules without updates.
            rate = optax.cosine_decay_schedule(initial, max(updates, 1), alpha=floor / initial)
        case _:
            rate = optax.constant_schedule(initial)
    if not warmup:
        return rate
    return lambda count: jnp.minimum(rate(count), initial * (count + 1) / warmup)


def clip_by_norm(max_norm: float) -> optax.GradientTransformation:
    """Scale a module's gradient by min(1, max_norm / (norm + 1e-6)), as torch clips."""

    def update(updates, state, params=None):
        del params
        factor = jnp.minimum(1.0, max_norm / (optax.tree.norm(updates) + 1e-6))
        return jax.tree.map(lambda g: g * factor, updates), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def adam(rate: optax.Schedule, max_norm: float = 0.01) -> Optimizer:
    """Return the optimiser of one module: clip its gradient, then Adam (0.9, 0.999, 1e-8)."""
    chain = optax.chain(
        clip_by_norm(max_norm),
        scale_by_adam(),
        optax.scale_by_learning_rate(rate),
    )
    return Optimizer(chain.init, chain.update, rate)


def scale_by_adam(b1=0.9, b2=0.999, eps=1e-8) -> optax.GradientTransformation:
    """Return `optax.scale_by_adam` with bias corrections as exact as float32 is, as in torch.

    Optax's 1 - 0.999^t is off by 1.3e-5 at first, for all params alike, which shows in features.
    """
    moments = optax.scale_by_adam(b1=b1, b2=b2, eps=eps)

    def update(updates, state, params=None):
        _, state = moments.update(updates, state, params)
        first, second = (-jnp.expm1(state.count * math.log(decay)) for decay in (b1, b2))
        steps = jax.tree.map(
            lambda mu, nu: mu / first / (jnp.sqrt(nu / second) + eps), state.mu, state.nu
        )
        return steps, state

    return optax.GradientTransformation(moments.init, update)


def muon(rate: optax.Schedule, max_norm: float = 0.01) -> Optimizer:
    """Return a module's optimiser that steps in all directions of a matrix alike.

    1x1 kernels, which are matrices, take the orthogonalised momentum of Muon (Jordan et al., 2024),
    all other params Adam with Nesterov's momentum, after the same clip and at the same rate.
    """
    chain = optax.chain(
        clip_by_norm(max_norm),
        optax.contrib.muon(1.0, consistent_rms=_MUON_RMS),  # of rate 1: descends
        optax.scale_by_schedule(rate),
    )
    return Optimizer(chain.init, chain.update, rate)


def update_count(opt_state: Any) -> Int[Array, ""]:
    """Return how many updates the state of an optimiser counts."""
    return opt_state[-1].count
