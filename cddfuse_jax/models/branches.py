"""The base and the detail branch: the release's, or one's own (docs/changing_the_network.md)."""

from typing import Any

from flax import linen as nn

from cddfuse_jax import custom_code
from cddfuse_jax.errors import InputError
from cddfuse_jax.models.base import BaseFeatureExtraction
from cddfuse_jax.models.detail import DetailFeatureExtraction


def base_branch(own: str, features: int, heads: int) -> nn.Module:
    """Return the release's base branch, or one's own."""
    sizes = {"features": features, "heads": heads}
    return own_branch(own, **sizes) if own else BaseFeatureExtraction(heads)


def detail_branch(own: str, features: int, layers: int, remat: bool, piece: int) -> nn.Module:
    """Return the release's detail branch, or one's own."""
    sizes: Any = {"features": features, "layers": layers, "remat": remat, "piece": piece}
    return own_branch(own, **sizes) if own else DetailFeatureExtraction(**sizes)


def own_branch(name: str, **sizes: Any) -> nn.Module:
    """Return a branch by "MODULE:CLASS": a Linen module of features to features, (n, h, w, c).

    It is given those of ``sizes`` that are fields of it.
    """
    found = custom_code.load(name)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise InputError(f"a branch is MODULE:CLASS of a flax.linen.Module, got {name!r}")
    fields = found.__dataclass_fields__
    return found(**{field: value for field, value in sizes.items() if field in fields})
