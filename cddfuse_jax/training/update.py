"""The training state and one pure update per stage, for a batch or a device's share of one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key

from cddfuse_jax.models.cddfuse import MODULES, CDDFuse
from cddfuse_jax.models.convolutions import AnyArray
from cddfuse_jax.training.frozen import replaced, trained_part
from cddfuse_jax.training.losses import Parts
from cddfuse_jax.training.optimizers import Optimizer, update_count


class TrainState(struct.PyTreeNode):
    """Everything that an update reads and changes.

    Attributes:
        step: updates made in both stages, an int32 scalar.
        params: parameters by module.
        opt_state: the optimisers' state by module.
        ema: running mean of ``params``, or None where a run keeps none.
    """

    step: jax.Array
    params: dict[str, Any]
    opt_state: dict[str, optax.OptState]
    ema: dict[str, Any] | None = None

    @property
    def fusing_params(self) -> dict[str, Any]:
        """The params to fuse with: the running mean where one is kept."""
        return self.params if self.ema is None else self.ema


class Stage(NamedTuple):
    """One of the two training stages.

    Attributes:
        name: "reconstruction" (stage I) or "fusion" (stage II).
        loss: (params, visible, infrared, of_whole_batch=) to the total and its parts, as in
            `losses`.
        modules: which modules train; the others stay as they are.
        frozen: paths of parts that do not train either, such as "encoder/blocks".
    """

    name: str
    loss: Callable[..., tuple[Float[Array, ""], Parts]]
    modules: tuple[str, ...]
    frozen: tuple[str, ...] = ()


def init_params(model: CDDFuse, key: Key[Array, ""]) -> dict[str, Any]:
    """Return torch's default initial weights, by module."""
    image = jnp.zeros((1, 8, 8, model.channels), jnp.float32)
    params = model.init(key, image, image)["params"]
    return {module: params.get(module, {}) for module in MODULES}  # a custom part may have none


def init_state(
    params: dict[str, Any],
    optimizers: Mapping[str, Optimizer],
    ema: bool = False,
    frozen: Sequence[str] = (),
) -> TrainState:
    """Return the state before the first update.

    ``ema`` makes it keep a running mean; the optimizers keep nothing for what is ``frozen``.
    """
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state={
            module: optimizers[module].init(trained_part(module, params[module], frozen))
            for module in MODULES
        },
        ema=jax.tree.map(jnp.copy, params) if ema else None,
    )


def update(
    state: TrainState,
    visible: Float[AnyArray, "n h w channels"],
    infrared: Float[AnyArray, "n h w channels"],
    *,
    stage: Stage,
    optimizers: Mapping[str, Optimizer],
    ema: float = 0.0,
    accumulate: int = 1,
    axis: str | None = None,
) -> tuple[TrainState, Parts]:
    """Make one update: each of the stage's modules clips and steps on its own.

    Images are in [0, 1]. ``ema`` is the decay of the running mean of the params, for a state that
    keeps one: after update t (from 0) it moves by max(1 - ema, 9 / (10 + t)) of the way to them, so
    that the first updates do not weigh on it. ``accumulate`` is in how many microbatches, which
    must divide n, the gradient is computed. ``axis`` names the mapped axis of devices, all of which
    make this update, of equal shares of the batch.

    Returns:
        The state after, and by name: ``total``, the loss parts, and for each trained module
        ``grad_norm/MODULE`` (before clipping) and ``lr/MODULE``.
    """
    (total, parts), gradients = batch_gradient(
        state.params, visible, infrared, stage=stage, accumulate=accumulate, axis=axis
    )
    params, opt_state = state.params, dict(state.opt_state)
    metrics = {"total": total, **parts}
    for module, gradient in gradients.items():
        metrics[f"grad_norm/{module}"] = optax.tree.norm(gradient)
        metrics[f"lr/{module}"] = optimizers[module].rate(update_count(opt_state[module]))
        before = trained_part(module, params[module], stage.frozen)
        updates, opt_state[module] = optimizers[module].update(gradient, opt_state[module], before)
        params = replaced(params, {module: optax.apply_updates(before, updates)})
    mean = state.ema
    if mean is not None:
        rate = jnp.maximum(1 - ema, 9 / (10 + state.step))
        for module in MODULES:  # a mean of equal numbers is not always that number
            new, old = (trained_part(module, x[module], stage.frozen) for x in (params, mean))
            mean = replaced(mean, {module: optax.incremental_update(new, old, rate)})
    after = TrainState(step=state.step + 1, params=params, opt_state=opt_state, ema=mean)
    return after, metrics


def batch_gradient(
    params: dict[str, Any],
    visible: Float[AnyArray, "n h w channels"],
    infrared: Float[AnyArray, "n h w channels"],
    *,
    stage: Stage,
    accumulate: int = 1,
    axis: str | None = None,
) -> tuple[tuple[Float[Array, ""], Parts], dict[str, Any]]:
    """Return the loss, its parts and the gradient of the whole batch, however it is shared out.

    Microbatches cost a first pass over all of them, encoder only and without gradients, that finds
    the correlations of the whole batch (see `losses.decomposition`); with these known, the mean of
    the microbatches' gradients is exact. Devices send two correlations in the middle of a step
    and, in one reduction at its end, the gradient of the stage's modules with the loss parts.

    Returns:
        ((total, parts), gradient by module), equal on all devices.
    """
    if axis is not None:
        # shard_map sums gradients of replicated params. Mark them varying to get this device's
        # gradient, as pmap gives.
        params = jax.lax.pcast(params, axis, to="varying")
    trained = {
        module: part
        for module in stage.modules
        if jax.tree.leaves(part := trained_part(module, params[module], stage.frozen))
    }

    def loss(trained, visible, infrared, of_whole_batch):
        whole = replaced(params, trained)
        return stage.loss(whole, visible, infrared, of_whole_batch=of_whole_batch)

    gradient = jax.value_and_grad(loss, has_aux=True)
    if accumulate == 1:
        return _mean(gradient(trained, visible, infrared, lambda cc: _mean(cc, axis)), axis)

    microbatches = jax.tree.map(
        lambda images: images.reshape(accumulate, -1, *images.shape[1:]), (visible, infrared)
    )

    def correlations(microbatch):  # XLA drops the decoder, which these two do not need
        parts = stage.loss(params, *microbatch)[1]
        return {name: parts[name] for name in ("cc_base", "cc_detail")}

    each = jax.lax.map(correlations, microbatches)
    whole = _mean(jax.tree.map(jnp.mean, each), axis)

    def add(sums, microbatch):
        return jax.tree.map(jnp.add, sums, gradient(trained, *microbatch, lambda _: whole)), None

    first = jax.tree.map(lambda images: images[0], microbatches)
    shapes = jax.eval_shape(lambda *images: gradient(trained, *images, lambda _: whole), *first)
    sums = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    if axis is not None:
        sums = jax.lax.pcast(sums, axis, to="varying")
    sums, _ = jax.lax.scan(add, sums, microbatches)
    return _mean(jax.tree.map(lambda leaf: leaf / accumulate, sums), axis)


def _mean(tree, axis: str | None):
    """Average over devices, as one vector: one reduction however many tensors there are."""
    if axis is None:
        return tree
    vector, unravel = ravel_pytree(tree)
    return unravel(jax.lax.pmean(vector, axis))
