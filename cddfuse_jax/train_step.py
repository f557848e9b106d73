"""The training state and one pure update per stage."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from cddfuse_jax.losses import Parts
from cddfuse_jax.models.cddfuse import MODULES, CDDFuse
from cddfuse_jax.optimizers import update_count


class TrainState(struct.PyTreeNode):
    """Everything that an update reads and changes.

    Attributes:
        step: updates made in both stages, an int32 scalar.
        params: parameters by module.
        opt_state: clip and Adam state by module.
    """

    step: jax.Array
    params: dict[str, Any]
    opt_state: dict[str, optax.OptState]


class Stage(NamedTuple):
    """One of the two training stages.

    Attributes:
        name: "reconstruction" (stage I) or "fusion" (stage II).
        loss: (params, visible, infrared) to the total and its parts.
        modules: which modules train; the others stay as they are.
    """

    name: str
    loss: Callable[..., tuple[jax.Array, Parts]]
    modules: tuple[str, ...]


def init_state(
    model: CDDFuse, key: jax.Array, optimizer: optax.GradientTransformation
) -> TrainState:
    """Return the state before the first update, with torch's default initial weights."""
    image = jnp.zeros((1, 8, 8, model.channels), jnp.float32)
    params = model.init(key, image, image)["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params={module: params[module] for module in MODULES},
        opt_state={module: optimizer.init(params[module]) for module in MODULES},
    )


def update(
    state: TrainState,
    visible: jax.Array,
    infrared: jax.Array,
    *,
    stage: Stage,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
) -> tuple[TrainState, Parts]:
    """Make one update: each of the stage's modules clips and steps on its own.

    Args:
        state: the state before.
        visible: (n, h, w, 1) in [0, 1].
        infrared: like ``visible``.
        stage: the loss, and the modules that train.
        optimizer: a module's, see `optimizers.adam`.
        schedule: its learning rate by the module's own count of updates, for the metrics.

    Returns:
        The state after, and scalars by name: ``total``, the loss parts, and for each trained module
        ``grad_norm/MODULE`` (before clipping) and ``lr/MODULE``.
    """
    trained = {module: state.params[module] for module in stage.modules}

    def loss(trained):
        return stage.loss({**state.params, **trained}, visible, infrared)

    (total, parts), gradients = jax.value_and_grad(loss, has_aux=True)(trained)
    params, opt_state = dict(state.params), dict(state.opt_state)
    metrics = {"total": total, **parts}
    for module, gradient in gradients.items():
        metrics[f"grad_norm/{module}"] = optax.tree.norm(gradient)
        metrics[f"lr/{module}"] = schedule(update_count(opt_state[module]))
        updates, opt_state[module] = optimizer.update(gradient, opt_state[module])
        params[module] = optax.apply_updates(params[module], updates)
    return state.replace(step=state.step + 1, params=params, opt_state=opt_state), metrics
