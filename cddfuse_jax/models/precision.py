"""In which numbers the network computes: of features, and of matrix products and convolutions.

Parameters, sums over pixels, losses and the optimizer are in float32 whatever the precision.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jaxtyping import Float

from cddfuse_jax.models.arrays import AnyArray
from cddfuse_jax.models.options import Precision


def features_dtype(precision: Precision):
    """Return the type of features: None, which is the images' own, or bfloat16."""
    return jnp.bfloat16 if precision == "bf16" else None


def summing_dtype(x: Float[AnyArray, "..."]) -> jnp.dtype:
    """Return the type in which to sum over many numbers like those of ``x``: float32 or wider."""
    return jnp.promote_types(x.dtype, jnp.float32)


@contextlib.contextmanager
def computing(precision: Precision) -> Iterator[None]:
    """Return the context in which products and convolutions are traced.

    "highest" makes them full float32 where the backend's default is coarser: bfloat16 on TPUs, TF32
    on NVIDIA GPUs. The other two leave JAX's own setting alone. Vectors are broadcast over maps
    whatever the user's JAX_NUMPY_RANK_PROMOTION is.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.numpy_rank_promotion("allow"))
        if precision == "highest":
            stack.enter_context(jax.default_matmul_precision("highest"))
        yield


def computed(function: Callable, precision: Precision) -> Callable:
    """Return ``function``, traced in the context of `computing`; its derivatives too."""

    @functools.wraps(function)
    def in_context(*arguments, **options):
        with computing(precision):
            return function(*arguments, **options)

    return in_context
