"""What a config says about a run: the network, its two stages, its four optimizers."""

import functools

from ml_collections import ConfigDict

from cddfuse_jax.errors import InputError
from cddfuse_jax.models.branches import check_parts
from cddfuse_jax.models.cddfuse import MODULES, CDDFuse
from cddfuse_jax.models.precision import features_dtype
from cddfuse_jax.training.frozen import Tree, frozen_parts, trained_modules
from cddfuse_jax.training.losses import LossWeights, fusion_loss, reconstruction_loss
from cddfuse_jax.training.optimizers import Optimizer, adam, learning_rate, muon
from cddfuse_jax.training.own_loss import own_loss
from cddfuse_jax.training.update import Stage


def make_model(config: ConfigDict) -> CDDFuse:
    """Return the network that a config describes, once `config.check` has found it good."""
    model = CDDFuse(**config.model, dtype=features_dtype(config.precision))
    check_parts(model)
    return model


def make_stages(
    config: ConfigDict, model: CDDFuse, params: Tree | None = None
) -> tuple[Stage, Stage]:
    """Return stage I, which trains encoder and decoder, and stage II, which trains all.

    Args:
        config: of the run.
        model: its network.
        params: those of the network, or their shapes, which ``config.frozen`` must fit.
    """
    weights = LossWeights(*(config.loss[field] for field in LossWeights._fields))
    own = own_loss(config.loss.own, config.loss.own_weights) if config.loss.own else None
    reconstruction = functools.partial(
        reconstruction_loss, weights=weights, residual=config.residual != "none", model=model
    )
    fusion = functools.partial(
        fusion_loss, weights=weights, residual=config.residual, model=model, own=own
    )
    frozen = frozen_parts(config.frozen, params) if params else ()
    stages = (
        Stage("reconstruction", reconstruction, ("encoder", "decoder"), frozen),
        Stage("fusion", fusion, MODULES, frozen),
    )
    for stage, epochs in zip(stages, ("reconstruction_epochs", "fusion_epochs"), strict=True):
        left = set(stage.modules) & set(trained_modules(params, frozen) if params else MODULES)
        if config[epochs] and not left:
            raise InputError(
                f"config.frozen={config.frozen} leaves nothing to train in stage {stage.name}: "
                f"freeze less, or set config.{epochs}=0"
            )
    return stages


def make_optimizers(config: ConfigDict, steps_per_epoch: int) -> dict[str, Optimizer]:
    """Return each module's optimizer, whose rate follows the updates that the module makes."""
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
