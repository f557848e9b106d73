"""What a run starts from: a network that can be computed, and its first params."""

import functools
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from ml_collections import ConfigDict

from cddfuse_jax.config import release
from cddfuse_jax.console import report
from cddfuse_jax.errors import InputError, one_line
from cddfuse_jax.models.cddfuse import MODULES, CDDFuse
from cddfuse_jax.training.recipe import make_stages
from cddfuse_jax.training.update import init_params
from cddfuse_jax.weights.any_format import load_meta, load_params, saved_steps, sizes_of
from cddfuse_jax.weights.custom_network import PARTS


def with_sizes(config: ConfigDict, workdir: Path) -> ConfigDict:
    """Return the config with the sizes of the network that the run starts from, if it names none.

    They are those of its newest checkpoint, or else of ``config.init_from``. Custom parts are taken
    as well if the config has none, but not from a file: what code it names is not to be run.
    """
    config = config.copy_and_resolve_references()
    default = release().model
    sizes = [field for field in config.model if field not in (*PARTS, "remat")]
    if not config.init_from or any(config.model[field] != default[field] for field in sizes):
        return config
    if saved_steps(workdir):
        found = load_meta(workdir)["config"]["model"]
    else:
        found = sizes_of(config.init_from)
    trusted = saved_steps(workdir) or Path(config.init_from).is_dir()
    parts = PARTS if trusted and not any(config.model.get(part) for part in PARTS) else ()
    config.model.update({field: found[field] for field in (*sizes, *parts) if field in found})
    return config


def check_traces(config: ConfigDict, model: CDDFuse) -> dict[str, Any]:
    """Trace the network and both losses on small images, before anything is written.

    Returns:
        Shapes and types of the network's params.

    Raises:
        InputError: custom code fails, or returns what it must not; one line.
    """
    image = jax.ShapeDtypeStruct((1, 16, 16, model.channels), jnp.float32)
    try:
        params = jax.eval_shape(functools.partial(init_params, model, jax.random.key(0)))
        for stage in make_stages(config, model):
            jax.eval_shape(stage.loss, params, image, image)
    except InputError:
        raise
    except Exception as error:  # whatever the user's code raises
        if not any(config.model.get(part) for part in PARTS):
            raise
        named = ", ".join(config.model[part] for part in PARTS if config.model.get(part))
        raise InputError(
            f"the network with {named} cannot be computed ({type(error).__name__}: "
            f"{one_line(error)})"
        ) from error
    return params


def starting_params(config: ConfigDict, model: CDDFuse) -> dict[str, Any]:
    """Return the params before the first update: those of ``init_from``, or random ones.

    Of a network with custom parts, every array starts from ``init_from`` that has the name and the
    shape of one there. What does not is printed, and is random.
    """
    random = functools.partial(init_params, model, jax.random.key(config.seed))
    if not config.init_from:
        return random()
    given = traverse_util.flatten_dict(load_params(config.init_from))
    wanted = traverse_util.flatten_dict(jax.eval_shape(random))
    fits = {
        path
        for path, leaf in wanted.items()
        if path in given and jnp.shape(given[path]) == leaf.shape
    }
    unused = given.keys() - fits
    if (unused or len(fits) < len(wanted)) and not any(config.model.get(part) for part in PARTS):
        found = sizes_of(config.init_from)
        differ = [
            f"{field} {found[field]!r} instead of {wanted!r}"
            for field, wanted in config.model.items()
            if field != "remat" and field in found and found[field] != wanted
        ]
        raise InputError(
            f"config.init_from={config.init_from}: weights of another network, "
            f"{', '.join(differ)}; set config.model to theirs"
        )
    if not fits:
        raise InputError(f"config.init_from={config.init_from}: none of its arrays fit")
    if unused or len(fits) < len(wanted):
        report(
            f"note: {len(fits)} of {len(wanted)} arrays start from {config.init_from}; random: "
            f"{_places(wanted.keys() - fits)}; left out of it: {_places(unused)}"
        )
    start = traverse_util.flatten_dict(random()) if len(fits) < len(wanted) else {}
    taken = {path: jnp.asarray(given[path], wanted[path].dtype) for path in fits}
    modules: dict[str, Any] = {module: {} for module in MODULES}  # also those without params
    return modules | traverse_util.unflatten_dict(start | taken)


def _places(paths: Any) -> str:
    counted = Counter(
        "/".join(path[:2] if path[0] in ("encoder", "decoder") else path[:1]) for path in paths
    )
    return ", ".join(f"{place} ({count})" for place, count in sorted(counted.items())) or "nothing"
