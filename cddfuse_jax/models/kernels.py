"""Kernels as the blocks use them: drawn as torch does, in the type of the features they meet."""

from flax import linen as nn
from jaxtyping import Float

from cddfuse_jax.models.arrays import AnyArray
from cddfuse_jax.models.convolutions import torch_uniform


def kernel(
    module: nn.Module, name: str, shape: tuple[int, ...], x: Float[AnyArray, "n h w c"]
) -> Float[AnyArray, "..."]:
    """Return the module's parameter ``name``, in the type of ``x``; its gradient keeps its own."""
    return module.param(name, torch_uniform, shape).astype(x.dtype)
