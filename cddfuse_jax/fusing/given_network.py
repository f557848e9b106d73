"""The network and params that `Fuser` is given: a file or a run's folder, or arrays."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax

from cddfuse_jax.errors import InputError
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.weights.any_format import Weights, check_finite, load
from cddfuse_jax.weights.custom_network import check_fit
from cddfuse_jax.weights.torch_names import name_table

_REMEDY = "give the network that they are of, as Fuser(params, model=CDDFuse(base='mine:Block'))"


def load_network(
    weights: Any, model: CDDFuse | None = None, own: Iterable[str | os.PathLike] = ()
) -> Weights:
    """Return weights with their network, ``model`` or the one that they were saved with.

    Args:
        weights: as `load` takes them, or params, or {"params": params}.
        model: the network; None for that of the file, or the release's in the sizes of params.
        own: as `load` takes them.

    Raises:
        InputError: as `load`, or the params are not those of the network.
    """
    if isinstance(weights, str | os.PathLike):
        loaded = load(weights, own)
    elif isinstance(weights, Mapping):
        params = dict(weights["params"] if set(weights) == {"params"} else weights)
        loaded = Weights(model or _of_sizes(params), params, {})
        check_finite("params", params)
    else:
        raise InputError(
            "weights are a name such as 'ivf', a file, a run's folder or params, got "
            f"{type(weights).__name__}"
        )
    if model is not None:
        try:
            check_fit(Path("params"), model, loaded.params)
        except InputError as error:
            raise InputError(f"{error}; {_REMEDY}") from None
    return loaded._replace(model=model or loaded.model)


def _of_sizes(params: dict[str, Any]) -> CDDFuse:
    try:
        model = CDDFuse.from_params(params)
        paths = {tuple(key.key for key in path) for path, _ in jax.tree.leaves_with_path(params)}
        if strange := paths ^ {entry.path for entry in name_table(model)}:
            raise KeyError("/".join(map(str, min(strange))))
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"params are not the release's network's ({error!r}); {_REMEDY}") from None
    return model
