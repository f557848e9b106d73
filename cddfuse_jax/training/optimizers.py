"""Adam, gradient clipping and the learning rate, one optimiser for each of the four modules."""

import jax
import jax.numpy as jnp
import optax


def learning_rate(
    steps_per_epoch: int,
    *,
    initial: float = 1e-4,
    decay: float = 0.5,
    decay_epochs: int = 20,
    floor: float = 1e-6,
) -> optax.Schedule:
    """Halve the rate every 20 epochs down to a floor, by the count of the module's own updates.

    max(initial · decay^(k // decay_epochs), floor) with k = count // steps_per_epoch. The fusion
    layers' count starts with stage II, so they begin at ``initial`` when the encoder has decayed.
    """
    return optax.exponential_decay(
        initial, decay_epochs * steps_per_epoch, decay, staircase=True, end_value=floor
    )


def clip_by_norm(max_norm: float) -> optax.GradientTransformation:
    """Scale a module's gradient by min(1, max_norm / (norm + 1e-6)), as torch clips."""

    def update(updates, state, params=None):
        del params
        factor = jnp.minimum(1.0, max_norm / (optax.tree.norm(updates) + 1e-6))
        return jax.tree.map(lambda g: g * factor, updates), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def adam(schedule: optax.Schedule, max_norm: float = 0.01) -> optax.GradientTransformation:
    """Return the optimiser of one module: clip its gradient, then Adam (0.9, 0.999, 1e-8)."""
    return optax.chain(
        clip_by_norm(max_norm),
        optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8),
        optax.scale_by_learning_rate(schedule),
    )


def update_count(opt_state) -> jax.Array:
    """Return how many updates an `adam` state has seen, an int32 scalar."""
    return opt_state[1].count
