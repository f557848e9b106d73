"""The release's training recipe as a config, and reading `--config=FILE --config.field=value`."""

import difflib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from cddfuse_jax.errors import InputError


def release() -> ConfigDict:
    """Return every field of a training run, with the release's values."""
    return ConfigDict(
        {
            "seed": 0,
            "batch_size": 8,  # over all devices
            "accumulate": 1,  # microbatches that a device's share is computed in; the same result
            "parallel": "shard_map",  # or "pmap": how an update is mapped over devices
            # Of features and products: "float32" (the backend's own), "highest" (exact on TPUs and
            # GPUs too) or "bf16". Params, sums, losses and Adam are float32 with each.
            "precision": "float32",
            "reconstruction_epochs": 40,  # stage I
            "fusion_epochs": 80,  # stage II
            "clip_norm": 0.01,  # of each module's gradient
            # By a module's own epochs: max(initial · decay^(epoch // decay_epochs), floor).
            "learning_rate": {"initial": 1e-4, "decay": 0.5, "decay_epochs": 20, "floor": 1e-6},
            # Fields of losses.LossWeights.
            "loss": {
                "ssim": 5.0,
                "reconstruction_gradient": 5.0,
                "fusion_gradient": 10.0,
                "decomposition": 2.0,
            },
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
            },
            "data": {
                "source": "hdf5",  # "folders", "hdf5", "tfds" or "synthetic"
                "infrared": "",  # folder, for "folders"
                "visible": "",
                "file": "",  # for "hdf5"
                "directory": "",  # for "tfds": the folder named after the version
                "split": "train",
                "count": 0,  # for "synthetic": pairs and their size
                "height": 0,
                "width": 0,
                "crop": 0,  # side of a random window; 0 takes whole images, all of one size
                "flip": False,
                "crops_per_pair": 1,  # in one epoch
            },
            # Whether a pair that cannot be read is replaced by the next that can, or ends the run.
            "skip_bad_pairs": False,
            "log_every": 50,  # updates
            "checkpoint_every": 500,  # updates
            "keep_checkpoints": 3,
            "picture_every": 10,  # epochs
        }
    )


def load(path: str, overrides: list[str]) -> ConfigDict:
    """Read a config file's ``get_config()`` and apply ``--config.field=value`` arguments to it.

    Raises:
        InputError: no such file, no ``get_config``, a field that the config lacks (the nearest one
            is suggested), or a value of the wrong type.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such config file; configs/ holds those of this project")
    try:
        config = _parse(path, [])
        known = dict(flat(config))
    except Exception as error:  # a config is Python: it can fail in any way
        raise InputError(f"{path}: cannot be read as a config ({_one_line(error)})") from None
    for argument in overrides:
        field = argument.removeprefix("--config.").partition("=")[0]
        if field not in known:
            raise InputError(f"the config has no field {field!r}{_nearest(field, known)}")
    try:
        return _parse(path, overrides)
    except (flags.Error, TypeError, ValueError) as error:
        raise InputError(_wrong_value(overrides, known, error)) from None


def _parse(path: str, overrides: list[str]) -> ConfigDict:
    # Every config is loaded under this name, and a former one's get_config would shine through.
    sys.modules.pop("config_config", None)
    values = flags.FlagValues()
    arguments = ["train", f"--config={path}", *overrides]
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=arguments)
    values(arguments)
    return values.config


def flat(config: ConfigDict | dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ("data.crop", value) for every leaf of a config."""
    for name, value in config.items():
        if isinstance(value, ConfigDict | dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _nearest(field: str, known: dict[str, Any]) -> str:
    by_last = {name.rpartition(".")[2]: name for name in known}
    for candidates, wanted in ((known, field), (by_last, field.rpartition(".")[2])):
        if near := difflib.get_close_matches(wanted, candidates, n=1, cutoff=0.5):
            return f"; did you mean {by_last.get(near[0], near[0])}?"
    return f"; it has {', '.join(known)}"


def _wrong_value(overrides: list[str], known: dict[str, Any], error: Exception) -> str:
    for argument in overrides:
        field, _, value = argument.removeprefix("--config.").partition("=")
        if f"--config.{field}={value}" in str(error) and field in known:
            kind = type(known[field]).__name__
            return f"config.{field} must be of type {kind} like {known[field]!r}, got {value!r}"
    return _one_line(error)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
