"""Every field of a training run: the release's value, its meaning, and the values it may have."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from cddfuse_jax.errors import InputError, did_you_mean

SCHEDULES = ("staircase", "cosine", "constant")
SOURCES = ("folders", "hdf5", "synthetic", "tfds")


class LossWeights(NamedTuple):
    """Coefficients of the loss parts; the defaults are the release's."""

    ssim: float = 5.0  # stage I, with 1 · MSE of each modality
    reconstruction_gradient: float = 5.0  # stage I; the paper has no such term: 0
    fusion_gradient: float = 10.0  # stage II, with 1 · intensity
    decomposition: float = 2.0  # both stages
    signed_gradient: float = 0.0  # stage II; the release has no such term


class Rule(NamedTuple):
    """What the value of a field must be.

    Attributes:
        words: the rule as the end of "FIELD must be ...".
        holds: whether a value keeps it; NaN keeps none.
    """

    words: str
    holds: Callable[[Any], bool]


class Field(NamedTuple):
    """A field: the release's value, what it means, and what values it may have (None: any)."""

    default: Any
    meaning: str
    rule: Rule | None = None


def _at_least(least: float) -> Rule:
    return Rule(f"at least {least}", lambda value: least <= value < math.inf)


def _above(least: float) -> Rule:
    return Rule(f"above {least}", lambda value: least < value < math.inf)


def _one_of(*names: str) -> Rule:
    return Rule(f"one of {', '.join(names)}", names.__contains__)


_SEED = Rule("from 0 to 2**32 - 1", lambda value: 0 <= value < 2**32)
_SHARE = Rule("from 0 to 1", lambda value: 0 <= value <= 1)
_DECAY = Rule("above 0 and at most 1", lambda value: 0 < value <= 1)
_BELOW_ONE = Rule("at least 0 and below 1", lambda value: 0 <= value < 1)
_EVERY_NTH = Rule("0 or at least 2", lambda value: value == 0 or value >= 2)

_LOSS = LossWeights()

FIELDS: dict[str, Field] = {
    "seed": Field(0, "of first params, order, windows", _SEED),
    "batch_size": Field(8, "pairs in an update, over all devices", _at_least(1)),
    "accumulate": Field(
        1, "microbatches that a device's share is computed in; the same result", _at_least(1)
    ),
    "parallel": Field(
        "shard_map", "how an update is mapped over devices", _one_of("shard_map", "pmap")
    ),
    "precision": Field(
        "float32",
        "of features and products: float32 (the backend's default), highest (exact on TPUs and "
        "GPUs too) or bf16; params, sums, losses and the optimizer are float32 with each",
        _one_of("bf16", "float32", "highest"),
    ),
    "init_from": Field(
        "", "weights to start from: whatever fuse --weights takes; empty for random params"
    ),
    "frozen": Field(
        "",
        "modules or parts of them that are not trained, as encoder/blocks,decoder; modules: "
        "encoder, decoder, base_fusion, detail_fusion",
    ),
    "reconstruction_epochs": Field(40, "of stage I", _at_least(0)),
    "fusion_epochs": Field(80, "of stage II", _at_least(0)),
    "optimizer": Field("adam", "of each of the four modules", _one_of("adam", "muon")),
    "clip_norm": Field(0.01, "largest norm of each module's gradient", _above(0)),
    "learning_rate.schedule": Field(
        "staircase",
        "staircase by decay and decay_epochs, cosine down to the floor, or constant; by the "
        "updates that a module has made itself",
        _one_of(*SCHEDULES),
    ),
    "learning_rate.initial": Field(1e-4, "the highest rate", _above(0)),
    "learning_rate.decay": Field(0.5, "factor of a step of the staircase", _DECAY),
    "learning_rate.decay_epochs": Field(20, "epochs of a step of the staircase", _at_least(1)),
    "learning_rate.floor": Field(1e-6, "the lowest rate", _at_least(0)),
    "learning_rate.warmup": Field(0, "updates in which the rate rises first", _at_least(0)),
    "ema": Field(
        0.0,
        "decay of a running mean of the params, which is saved next to them and which fusing "
        "takes; 0 for none",
        _BELOW_ONE,
    ),
    "loss.ssim": Field(_LOSS.ssim, "stage I, weight of SSIM next to 1 · MSE", _at_least(0)),
    "loss.reconstruction_gradient": Field(
        _LOSS.reconstruction_gradient,
        "stage I, weight of the visible image's gradient",
        _at_least(0),
    ),
    "loss.fusion_gradient": Field(
        _LOSS.fusion_gradient,
        "stage II, weight of the gradient next to 1 · intensity",
        _at_least(0),
    ),
    "loss.decomposition": Field(
        _LOSS.decomposition, "both stages, weight of cc_detail² / (1.01 + cc_base)", _at_least(0)
    ),
    "loss.signed_gradient": Field(
        _LOSS.signed_gradient,
        "stage II, weight of the gradient with its sign; not in the release",
        _at_least(0),
    ),
    "loss.own": Field(
        "",
        "stage II, a function of yours as mine:terms or ./mine.py:terms, (visible, infrared, "
        "fusion) to a dict of parts that are added to the total",
    ),
    "loss.own_weights": Field("", "weights of these parts as edges=2,base=0.5; 1 if not named"),
    "residual": Field(
        "visible",
        "what the decoder adds: visible or sum when it fuses, and then a reconstruction's "
        "image; none for nothing at all (medical fusion)",
        _one_of("visible", "sum", "none"),
    ),
    "model.features": Field(64, "channels of features, even, a multiple of heads", _at_least(1)),
    "model.heads": Field(8, "attention heads", _at_least(1)),
    "model.blocks": Field(4, "Restormer blocks in the encoder and in the decoder", _at_least(1)),
    "model.coupling_layers": Field(3, "in the encoder's detail branch", _at_least(1)),
    "model.remat": Field(True, "recompute blocks in the backward pass: less memory, same result"),
    "model.block": Field(
        "", "a custom block for each Restormer block, as mine:Class or ./mine.py:Class"
    ),
    "model.base": Field("", "a custom base branch, named in the same way"),
    "model.detail": Field("", "a custom detail branch, named in the same way"),
    "model.merge": Field(
        "", "a custom fusion rule: a class or function of visible and infrared features"
    ),
    "data.source": Field("hdf5", "where pairs are", _one_of(*SOURCES)),
    "data.visible": Field("", "for folders: a folder, or several as A,B"),
    "data.infrared": Field("", "for folders: those of the infrared images"),
    "data.pair": Field(
        "", "how names go together, as {}_V,{}_T; empty for equal names, or a rule that is found"
    ),
    "data.registration": Field("", "for folders: a rig's file of cddfuse register"),
    "data.range_vi": Field(
        "", "for folders: what becomes black and white, as fuse --range-vi; empty for auto"
    ),
    "data.range_ir": Field("", "for folders: the same of infrared files"),
    "data.names": Field("", "a text file with a name a line: only these pairs; empty for all"),
    "data.file": Field("", "for hdf5: a file of cddfuse patches"),
    "data.directory": Field("", "for tfds: the folder named after the version"),
    "data.split": Field("train", "for tfds"),
    "data.count": Field(0, "for synthetic: how many pairs", _at_least(0)),
    "data.height": Field(0, "for synthetic: pixels", _at_least(0)),
    "data.width": Field(0, "for synthetic: pixels", _at_least(0)),
    "data.crop": Field(
        0, "side of a random window; 0 takes whole images, all of one size", _at_least(0)
    ),
    "data.flip": Field(False, "mirror at random"),
    "data.cameras.gamma": Field(
        0.0, "each image to a random power from 1 / (1 + gamma) to 1 + gamma", _at_least(0)
    ),
    "data.cameras.contrast": Field(
        0.0, "each image's contrast times a random 1 - contrast to 1 + contrast", _SHARE
    ),
    "data.cameras.noise": Field(
        0.0, "gaussian noise, of a random standard deviation up to this", _at_least(0)
    ),
    "data.cameras.polarity": Field(0.0, "probability that infrared is inverted", _SHARE),
    "data.crops_per_pair": Field(1, "windows of each pair in an epoch", _at_least(1)),
    "held_out.names": Field("", "a text file with a name a line: pairs to hold out"),
    "held_out.every_nth": Field(0, "hold out every n-th pair of each source; 0 none", _EVERY_NTH),
    "held_out.visible": Field("", "a folder of pairs to hold out"),
    "held_out.infrared": Field("", "folders of infrared images to hold out"),
    "held_out.count": Field(0, "at most so many, spread evenly; 0 for all", _at_least(0)),
    "held_out.crop": Field(256, "side of the centre window that the loss is of", _at_least(8)),
    "held_out.every": Field(500, "updates between two losses", _at_least(1)),
    "skip_bad_pairs": Field(
        False, "replace a pair that cannot be read by the next one, instead of ending the run"
    ),
    "log_every": Field(50, "updates between two scalars", _at_least(1)),
    "checkpoint_every": Field(500, "updates between two checkpoints", _at_least(1)),
    "keep_checkpoints": Field(3, "how many of the newest are kept", _at_least(1)),
    "picture_every": Field(10, "epochs between two images of the features", _at_least(1)),
}


def release() -> ConfigDict:
    """Return every field of a training run, with the release's values."""
    config: dict[str, Any] = {}
    for name, field in FIELDS.items():
        *groups, last = name.split(".")
        group = config
        for each in groups:
            group = group.setdefault(each, {})
        group[last] = field.default
    return ConfigDict(config)


def check(config: ConfigDict) -> None:
    """Check that every field is one of `FIELDS` and keeps its rule, and that sizes fit each other.

    Raises:
        InputError: one line with all that is wrong.
    """
    values = dict(flat(config))
    wrong = [
        f"the config has no field {name!r}{nearest(name, FIELDS)}"
        for name in values
        if name not in FIELDS
    ]
    wrong += [
        f"config.{name} must be {field.rule.words}, got {values[name]!r}"
        for name, field in FIELDS.items()
        if name in values and field.rule and not field.rule.holds(values[name])
    ]
    features, heads = values["model.features"], values["model.heads"]
    if not wrong and (features % heads or features % 2):
        wrong = [
            "config.model.features must be even and a multiple of heads, "
            f"got features={features}, heads={heads}"
        ]
    if wrong:
        raise InputError("; ".join(wrong))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean FIELD?", by the whole name or its last part, or all fields."""
    by_last = {field.rpartition(".")[2]: field for field in known}
    last = did_you_mean(name.rpartition(".")[2], (), by_last)
    return did_you_mean(name, known) or last or f"; it has {', '.join(known)}"


def flat(config: ConfigDict | dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ("data.crop", value) for every leaf of a config."""
    for name, value in config.items():
        if isinstance(value, ConfigDict | dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def table(config: ConfigDict) -> str:
    """Return every field with its value in a config, its meaning and its range, two lines each."""
    values = dict(flat(config))
    lines = []
    for name, field in FIELDS.items():
        known = f" ({field.rule.words})" if field.rule else ""
        lines.append(f"--config.{name}={values.get(name, field.default)}")
        lines.append(f"    {field.meaning}{known}")
    return "\n".join(lines)
