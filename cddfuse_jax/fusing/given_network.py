"""The network and params that `Fuser` is given: a file or a run's folder, or arrays."""

import os
from collections.abc import Mapping
from typing import Any

import flax.errors
import jax
import numpy as np

from cddfuse_jax.errors import InputError, one_line
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.weights.any_format import Weights, check_finite, load
from cddfuse_jax.weights.torch_names import name_table


def load_network(weights: Any, model: CDDFuse | None = None) -> Weights:
    """Return weights with their network, ``model`` or the one that they were saved with.

    Args:
        weights: as `load` takes them, or params, or {"params": params}.
        model: the network; None for that of the file, or the release's in the sizes of params.

    Raises:
        InputError: as `load`, or the params are not those of the network.
    """
    if isinstance(weights, str | os.PathLike):
        loaded = load(weights)
        if model is not None:
            check_params(model, loaded.params)
            loaded = loaded._replace(model=model)
        return loaded
    if not isinstance(weights, Mapping):
        raise InputError(
            "weights are a name such as 'ivf', a file, a run's folder or params, got "
            f"{type(weights).__name__}"
        )
    params = dict(weights["params"] if set(weights) == {"params"} else weights)
    try:
        found = model or CDDFuse.from_params(params)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(
            f"params are not CDDFuse's ({error!r}); give those of load_params, and where a branch "
            "is custom the network, as Fuser(params, model=CDDFuse(base='MODULE:CLASS'))"
        ) from None
    paths = {tuple(key.key for key in path) for path, _ in jax.tree.leaves_with_path(params)}
    if model is not None or paths != {entry.path for entry in name_table(found)}:
        check_params(found, params)
    check_finite("params", params)
    return Weights(found, params, {})


def check_params(model: CDDFuse, params: Any) -> None:
    """Check that params have the names and shapes of a network's."""
    image = jax.ShapeDtypeStruct((1, 8, 8, model.channels), np.float32)
    try:
        wanted = jax.eval_shape(model.init, jax.random.key(0), image, image)["params"]
    except (TypeError, ValueError, flax.errors.FlaxError) as error:
        raise InputError(f"the network cannot be built ({one_line(error)})") from None
    sides = [
        {jax.tree_util.keystr(place): np.shape(leaf) for place, leaf in leaves}
        for leaves in map(jax.tree.leaves_with_path, (wanted, params))
    ]
    if differ := sorted(name for name, _ in sides[0].items() ^ sides[1].items()):
        raise InputError(
            f"params are not those of the network, the first that differs is {differ[0]}; give "
            "the network that they are of, as Fuser(params, model=CDDFuse(base='MODULE:CLASS'))"
        )
