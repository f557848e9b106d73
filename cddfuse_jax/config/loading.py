"""Reading `--config=FILE --config.field=value`."""

import os
import sys
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from cddfuse_jax.config.fields import flat, nearest
from cddfuse_jax.errors import InputError, one_line


def load(path: str, overrides: list[str]) -> ConfigDict:
    """Read a config file's ``get_config()`` and apply ``--config.field=value`` arguments to it.

    Args:
        path: of a file, or the name of one of the project's configs, as "ivf" or "configs/ivf.py",
            which comes with the package.
        overrides: ``--config.field=value`` arguments.

    Raises:
        InputError: no such file, no ``get_config``, a field that the config lacks (the nearest one
            is suggested), or a value of the wrong type.
    """
    path = _found(path)
    try:
        config = _parse(path, [])
        known = dict(flat(config))
    except Exception as error:  # a config is Python: it can fail in any way
        raise InputError(f"{path}: cannot be read as a config ({one_line(error)})") from None
    for argument in overrides:
        field = argument.removeprefix("--config.").partition("=")[0]
        if field not in known:
            raise InputError(f"the config has no field {field!r}{nearest(field, known)}")
    try:
        config = _parse(path, overrides)
    except (flags.Error, TypeError, ValueError) as error:
        raise InputError(_wrong_value(overrides, known, error)) from None
    for field, value in list(flat(config)):
        if isinstance(value, str) and value.startswith("~/"):
            config.update_from_flattened_dict({field: os.path.expanduser(value)})
    return config


def _found(path: str) -> str:
    if Path(path).is_file():
        return path
    names = _shipped()
    name = path.removeprefix("configs/").removesuffix(".py")
    if name in names:
        return str(names[name])
    raise InputError(
        f"{path}: no such config file, and none of those that come with the package: "
        f"{', '.join(sorted(names))}"
    )


def _shipped() -> dict[str, Path]:
    """Return the files of ``configs/`` by name: within the package, or next to it in a clone."""
    package = Path(__file__).parents[1]
    folders = (package / "configs", package.parent / "configs")
    folder = next((folder for folder in folders if folder.is_dir()), None)
    files = folder.glob("*.py") if folder else ()
    return {file.stem: file for file in files if not file.stem.startswith("_")}


def _parse(path: str, overrides: list[str]) -> ConfigDict:
    # Every config is loaded under this name, and a former one's get_config would shine through.
    sys.modules.pop("config_config", None)
    values = flags.FlagValues()
    arguments = ["train", f"--config={path}", *overrides]
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=arguments)
    values(arguments)
    return values.config


def _wrong_value(overrides: list[str], known: dict[str, Any], error: Exception) -> str:
    for argument in overrides:
        field, _, value = argument.removeprefix("--config.").partition("=")
        if f"--config.{field}={value}" in str(error) and field in known:
            kind = type(known[field]).__name__
            return f"config.{field} must be of type {kind} like {known[field]!r}, got {value!r}"
    return one_line(error)
