"""Every field of a training run: its meaning, the release's value, and the values it may have."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from cddfuse_jax.errors import InputError

SCHEDULES = ("staircase", "cosine", "constant")
SOURCES = ("folders", "hdf5", "synthetic", "tfds")


class LossWeights(NamedTuple):
    """Coefficients of the loss parts; the defaults are the release's."""

    ssim: float = 5.0  # stage I, with 1 · MSE of each modality
    reconstruction_gradient: float = 5.0  # stage I; the paper has no such term: 0
    fusion_gradient: float = 10.0  # stage II, with 1 · intensity
    decomposition: float = 2.0  # both stages
    signed_gradient: float = 0.0  # stage II; the release has no such term


def release() -> ConfigDict:
    """Return every field of a training run, with the release's values."""
    return ConfigDict(
        {
            "seed": 0,
            "batch_size": 8,  # over all devices
            "accumulate": 1,  # microbatches that a device's share is computed in; the same result
            "piece": 0,  # images that a block computes at a time, 0 for all; the same result
            "parallel": "shard_map",  # or "pmap": how an update is mapped over devices
            # Of features and products: "float32" (the backend's own), "highest" (exact on TPUs and
            # GPUs too) or "bf16". Params, sums, losses and Adam are float32 with each.
            "precision": "float32",
            # Weights to start from: whatever `fuse --weights` takes; "" for random ones.
            "init_from": "",
            "reconstruction_epochs": 40,  # stage I
            "fusion_epochs": 80,  # stage II
            "optimizer": "adam",  # or "muon": see training.optimizers
            "clip_norm": 0.01,  # of each module's gradient
            # By a module's own updates, see training.optimizers.learning_rate.
            "learning_rate": {
                "schedule": "staircase",  # or "cosine" down to the floor, or "constant"
                "initial": 1e-4,
                "decay": 0.5,  # of the staircase, as is
                "decay_epochs": 20,
                "floor": 1e-6,
                "warmup": 0,  # updates
            },
            # Decay of a running mean of the params, which is saved beside them and which fusing
            # then takes; 0 for none.
            "ema": 0.0,
            # Fields of losses.LossWeights.
            "loss": LossWeights()._asdict(),
            # What the decoder adds: "visible" or "sum" when it fuses, and then a reconstruction's
            # own image; "none" for nothing at all (medical fusion).
            "residual": "visible",
            # Fields of models.cddfuse.CDDFuse.
            "model": {
                "features": 64,
                "heads": 8,
                "blocks": 4,
                "coupling_layers": 3,
                "remat": True,
                "base": "",  # a branch of one's own, "MODULE:CLASS" (docs/changing_the_network.md)
                "detail": "",
            },
            "data": {
                "source": "hdf5",  # "folders", "hdf5", "tfds" or "synthetic"
                "visible": "",  # folder, for "folders", or several as A,B
                "infrared": "",
                # How names go together, as "{}_V,{}_T"; "" for equal names, or what is found.
                "pair": "",
                "registration": "",  # of a rig, for "folders": a file of cddfuse register
                # A text file with a name a line: only these pairs; "" for all.
                "names": "",
                "file": "",  # for "hdf5"
                "directory": "",  # for "tfds": the folder named after the version
                "split": "train",
                "count": 0,  # for "synthetic": pairs and their size
                "height": 0,
                "width": 0,
                "crop": 0,  # side of a random window; 0 takes whole images, all of one size
                "flip": False,
                # How far each image is varied, see data.augmentation.CameraVariation.
                "cameras": {"gamma": 0.0, "contrast": 0.0, "noise": 0.0, "polarity": 0.0},
                "crops_per_pair": 1,  # in one epoch
            },
            # Pairs that are not trained on, but whose loss is computed every so often: those named
            # in a file (a name a line), every n-th of each source, or those of folders of their
            # own; "", 0 and "" for none.
            "held_out": {
                "names": "",
                "every_nth": 0,
                "visible": "",
                "infrared": "",
                "count": 0,  # at most so many of them, spread evenly; 0 for all
                "crop": 256,  # side of the window in the middle that the loss is of
                "every": 500,  # updates
            },
            # Whether a pair that cannot be read is replaced by the next that can, or ends the run.
            "skip_bad_pairs": False,
            "log_every": 50,  # updates
            "checkpoint_every": 500,  # updates
            "keep_checkpoints": 3,
            "picture_every": 10,  # epochs
        }
    )


class Rule(NamedTuple):
    """What the value of a field must be.

    Attributes:
        words: the rule as the end of "FIELD must be ...".
        holds: whether a value keeps it; NaN keeps none.
    """

    words: str
    holds: Callable[[Any], bool]


def _at_least(least: float) -> Rule:
    return Rule(f"at least {least}", lambda value: least <= value < math.inf)


def _above(least: float) -> Rule:
    return Rule(f"above {least}", lambda value: least < value < math.inf)


def _one_of(*names: str) -> Rule:
    return Rule(f"one of {', '.join(names)}", names.__contains__)


RULES: dict[str, Rule] = {
    "seed": Rule("from 0 to 2**32 - 1", lambda value: 0 <= value < 2**32),
    "batch_size": _at_least(1),
    "accumulate": _at_least(1),
    "piece": _at_least(0),
    "parallel": _one_of("shard_map", "pmap"),
    "precision": _one_of("bf16", "float32", "highest"),
    "reconstruction_epochs": _at_least(0),
    "fusion_epochs": _at_least(0),
    "optimizer": _one_of("adam", "muon"),
    "clip_norm": _above(0),
    "learning_rate.schedule": _one_of(*SCHEDULES),
    "learning_rate.initial": _above(0),
    "learning_rate.decay": Rule("above 0 and at most 1", lambda value: 0 < value <= 1),
    "learning_rate.decay_epochs": _at_least(1),
    "learning_rate.floor": _at_least(0),
    "learning_rate.warmup": _at_least(0),
    "ema": Rule("at least 0 and below 1", lambda value: 0 <= value < 1),
    **{f"loss.{part}": _at_least(0) for part in LossWeights._fields},
    "residual": _one_of("visible", "sum", "none"),
    **{
        f"model.{size}": _at_least(1) for size in ("features", "heads", "blocks", "coupling_layers")
    },
    "data.source": _one_of(*SOURCES),
    **{f"data.{size}": _at_least(0) for size in ("count", "height", "width", "crop")},
    "data.crops_per_pair": _at_least(1),
    "data.cameras.gamma": _at_least(0),
    "data.cameras.contrast": Rule("from 0 to 1", lambda value: 0 <= value <= 1),
    "data.cameras.noise": _at_least(0),
    "data.cameras.polarity": Rule("from 0 to 1", lambda value: 0 <= value <= 1),
    "held_out.every_nth": Rule("0 or at least 2", lambda value: value == 0 or value >= 2),
    "held_out.count": _at_least(0),
    "held_out.crop": _at_least(8),
    "held_out.every": _at_least(1),
    "log_every": _at_least(1),
    "checkpoint_every": _at_least(1),
    "keep_checkpoints": _at_least(1),
    "picture_every": _at_least(1),
}


def check(config: ConfigDict) -> None:
    """Check every field against `RULES`, and the network's sizes against each other."""
    values = dict(flat(config))
    broken = [
        f"config.{field} must be {rule.words}, got {values[field]!r}"
        for field, rule in RULES.items()
        if field in values and not rule.holds(values[field])
    ]
    features, heads = values["model.features"], values["model.heads"]
    if not broken and (features % heads or features % 2):
        broken = [
            "config.model.features must be even and a multiple of heads, "
            f"got features={features}, heads={heads}"
        ]
    if broken:
        raise InputError("; ".join(broken))


def flat(config: ConfigDict | dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ("data.crop", value) for every leaf of a config."""
    for name, value in config.items():
        if isinstance(value, ConfigDict | dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
