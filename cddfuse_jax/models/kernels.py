"""Kernels as the blocks use them: drawn as torch does, in the type of the features they meet."""

import jax
from flax import linen as nn

from cddfuse_jax.models.convolutions import torch_uniform


def kernel(module: nn.Module, name: str, shape: tuple[int, ...], x: jax.Array) -> jax.Array:
    """Return the module's parameter ``name``, in the type of ``x``; its gradient keeps its own."""
    return module.param(name, torch_uniform, shape).astype(x.dtype)
