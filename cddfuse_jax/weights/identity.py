"""Which weights these are: a name to read and a number that no others have."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cddfuse_jax.weights.shipped import SHIPPED


def digest(tree: Any) -> str:
    """Return the SHA-256 of a tree of arrays: names, types, shapes and values."""
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)
        found.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        found.update(array.data)
    return found.hexdigest()


def short_digest(params: Mapping[str, Any]) -> str:
    """Return the first 12 digits of `digest`, which no other weights have."""
    return digest(params)[:12]


def label(weights: str | os.PathLike | Mapping[str, Any]) -> str:
    """Return the name of weights as the user gave them: that of the file, or of what ships."""
    if isinstance(weights, Mapping):
        return "params"
    return str(weights) if str(weights) in SHIPPED else Path(weights).resolve().name
