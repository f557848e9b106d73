"""What a config says about a run: the network, its first weights, two stages, four optimisers."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from cddfuse_jax.config import release
from cddfuse_jax.errors import InputError
from cddfuse_jax.models.cddfuse import MODULES, CDDFuse
from cddfuse_jax.models.precision import features_dtype
from cddfuse_jax.training.losses import LossWeights, fusion_loss, reconstruction_loss
from cddfuse_jax.training.optimizers import Optimizer, adam, learning_rate, muon
from cddfuse_jax.training.update import Stage, init_params
from cddfuse_jax.weights.any_format import load, load_meta, saved_steps


def make_model(config: ConfigDict) -> CDDFuse:
    """Return the network that a config describes, once `config.check` has found it good."""
    dtype = features_dtype(config.precision)
    return CDDFuse(**config.model, dtype=dtype)


def take_sizes(config: ConfigDict, workdir: Path) -> None:
    """Set ``config.model``, where it is at its default, to the network that the run starts from.

    That is the one of its newest checkpoint, or else of ``config.init_from``.
    """
    if not config.init_from or config.model.to_dict() != release().model.to_dict():
        return
    if saved_steps(workdir):
        config.model.update(load_meta(workdir)["config"]["model"])
    else:
        found = load(config.init_from).model
        sizes = {field: getattr(found, field) for field in config.model if field != "remat"}
        config.model.update(sizes)


def make_stages(config: ConfigDict, model: CDDFuse) -> tuple[Stage, Stage]:
    """Return stage I, which trains encoder and decoder, and stage II, which trains all."""
    weights = LossWeights(**config.loss)
    reconstruction = functools.partial(
        reconstruction_loss, weights=weights, residual=config.residual != "none", model=model
    )
    fusion = functools.partial(fusion_loss, weights=weights, residual=config.residual, model=model)
    return (
        Stage("reconstruction", reconstruction, ("encoder", "decoder")),
        Stage("fusion", fusion, MODULES),
    )


def make_optimizers(config: ConfigDict, steps_per_epoch: int) -> dict[str, Optimizer]:
    """Return each module's optimiser, whose rate follows the updates that the module makes."""
    both = config.reconstruction_epochs + config.fusion_epochs
    epochs = dict.fromkeys(MODULES, config.fusion_epochs) | {"encoder": both, "decoder": both}
    make = muon if config.optimizer == "muon" else adam
    return {
        module: make(
            learning_rate(
                steps_per_epoch, epochs[module] * steps_per_epoch, **config.learning_rate
            ),
            config.clip_norm,
        )
        for module in MODULES
    }


def starting_params(config: ConfigDict, model: CDDFuse) -> dict[str, Any]:
    """Return the params before the first update: those of ``init_from``, or random ones."""
    random = functools.partial(init_params, model, jax.random.key(config.seed))
    if not config.init_from:
        return random()
    loaded = load(config.init_from)
    differ = [
        f"{field} {getattr(loaded.model, field)!r} instead of {wanted!r}"
        for field, wanted in config.model.items()
        if field != "remat" and getattr(loaded.model, field) != wanted
    ]
    if differ:
        raise InputError(
            f"config.init_from={config.init_from}: weights of another network, "
            f"{', '.join(differ)}; set config.model to theirs"
        )
    params = loaded.params
    return jax.tree.map(
        lambda like, leaf: jnp.asarray(leaf, like.dtype), jax.eval_shape(random), params
    )
