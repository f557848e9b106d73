"""Parts of the params that are not trained: ``config.frozen``."""

from collections.abc import Sequence
from typing import Any

from flax import traverse_util

from cddfuse_jax.errors import InputError, did_you_mean
from cddfuse_jax.models.cddfuse import MODULES

Tree = dict[str, Any]


def frozen_parts(text: str, params: Tree) -> tuple[str, ...]:
    """Return the paths in "encoder/blocks,decoder", each of which must be in ``params``."""
    paths = tuple(path.strip().strip("/") for path in text.split(",") if path.strip())
    for path in paths:
        tree: Any = params
        for depth, name in enumerate(path.split("/")):
            if not isinstance(tree, dict) or name not in tree:
                known = list(tree) if isinstance(tree, dict) else []
                above = "/".join(path.split("/")[:depth]) or "the network"
                raise InputError(
                    f"config.frozen={text}: {above} has no part {name!r}"
                    f"{did_you_mean(name, known)}; it has {', '.join(known) or 'none'}"
                )
            tree = tree[name]
    return paths


def trained_part(module: str, params: Tree, frozen: Sequence[str]) -> Tree:
    """Return a module's params without those below the ``frozen`` paths, {} where none is left."""
    leaves = traverse_util.flatten_dict({module: params}, sep="/")
    kept = {
        path: leaf
        for path, leaf in leaves.items()
        if not any(f"{path}/".startswith(f"{part}/") for part in frozen)
    }
    return traverse_util.unflatten_dict(kept, sep="/").get(module, {})


def replaced(params: Tree, trained: Tree) -> Tree:
    """Return ``params`` with the leaves that are in ``trained``; all others are the same arrays."""
    return traverse_util.unflatten_dict(
        traverse_util.flatten_dict(params, keep_empty_nodes=True)
        | traverse_util.flatten_dict(trained)
    )


def trained_modules(params: Tree, frozen: Sequence[str]) -> tuple[str, ...]:
    """Return the modules in which something is trained."""
    return tuple(name for name in MODULES if trained_part(name, params[name], frozen))
