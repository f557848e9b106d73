"""What a config says about a run: the network, the two stages, and what it can be resumed from."""

import functools

from ml_collections import ConfigDict

from cddfuse_jax import config as configs
from cddfuse_jax.errors import InputError
from cddfuse_jax.models.cddfuse import MODULES, CDDFuse
from cddfuse_jax.models.options import RESIDUALS
from cddfuse_jax.models.precision import features_dtype, known_precision
from cddfuse_jax.training.losses import LossWeights, fusion_loss, reconstruction_loss
from cddfuse_jax.training.update import Stage


def make_model(config: ConfigDict) -> CDDFuse:
    """Return the network that a config describes.

    Raises:
        InputError: its sizes do not fit each other, or the precision is unknown.
    """
    precision = known_precision(config.precision, "config.precision")
    sizes = config.model
    if min(sizes.features, sizes.heads, sizes.blocks, sizes.coupling_layers) < 1:
        raise InputError("config.model: features, heads, blocks and coupling_layers start at 1")
    if sizes.features % sizes.heads or sizes.features % 2:
        raise InputError(
            "config.model.features must be even and a multiple of heads, "
            f"got features={sizes.features}, heads={sizes.heads}"
        )
    return CDDFuse(**sizes, dtype=features_dtype(precision))


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

    Precision may change, as may `remat`: a checkpoint is float32 with each.

    Raises:
        InputError: naming every field that shapes either and differs.
    """
    before, after = (dict(configs.flat(meta["config"])) for meta in (saved, now))
    for meta, fields in ((saved, before), (now, after)):
        fields |= {"steps_per_epoch": meta["steps_per_epoch"], "pairs found": meta.get("pairs")}
    shaping = ("model.", "data.", "batch_size", "seed", "residual", "steps_per_epoch", "pairs")
    # Data may move; its count is checked.
    paths = ("data.visible", "data.infrared", "data.file", "data.directory")
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
