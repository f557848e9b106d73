"""Which weights these are: a name to read and a number that tells them from all others."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cddfuse_jax.weights.shipped import SHIPPED


def digest(params: Mapping[str, Any]) -> str:
    """Return the first 12 hexadecimal digits of the params' SHA-256: names, shapes and values."""
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        array = np.asarray(leaf)
        found.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:12]


def label(weights: str | os.PathLike | Mapping[str, Any]) -> str:
    """Return the name of weights as the user gave them: that of the file, or of what ships."""
    if isinstance(weights, Mapping):
        return "params"
    return str(weights) if str(weights) in SHIPPED else Path(weights).resolve().name
