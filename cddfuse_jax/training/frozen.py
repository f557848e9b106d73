"""Parts of the params that are not trained: ``config.frozen``."""

from collections.abc import Sequence
from typing import Any

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

    def without(tree: Any, place: str) -> Any:
        if not isinstance(tree, dict):
            return tree
        kept = {}
        for name, branch in tree.items():
            if (path := f"{place}/{name}") not in frozen:
                part = without(branch, path)
                if not isinstance(part, dict) or part:
                    kept[name] = part
        return kept

    return {} if module in frozen else without(params, module)


def replaced(params: Any, trained: Any) -> Any:
    """Return ``params`` with the leaves that are in ``trained``; all others are the same arrays."""
    if not isinstance(trained, dict):
        return trained
    return {
        name: replaced(branch, trained[name]) if name in trained else branch
        for name, branch in params.items()
    }


def trained_modules(params: Tree, frozen: Sequence[str]) -> tuple[str, ...]:
    """Return the modules in which something is trained."""
    return tuple(name for name in MODULES if trained_part(name, params[name], frozen))
