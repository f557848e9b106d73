"""In which numbers the network computes: of features, and of matrix products and convolutions.

Parameters, sums over pixels, losses and the optimizer are in float32 whatever the precision.
"""

import contextlib
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from cddfuse_jax.models import Precision


def features_dtype(precision: Precision):
    """Return the type of features: None, which is the images' own, or bfloat16."""
    return jnp.bfloat16 if precision == "bf16" else None


def computed(function: Callable, precision: Precision) -> Callable:
    """Return ``function``, traced with the precision's products; its derivatives too.

    "highest" makes products and convolutions full float32 where the backend's default is coarser:
    bfloat16 on TPUs, TF32 on NVIDIA GPUs. The other two leave JAX's own setting alone.
    """

    @functools.wraps(function)
    def in_context(*arguments, **options):
        with contextlib.ExitStack() as stack:
            # Vectors are broadcast over maps, whatever the user's JAX_NUMPY_RANK_PROMOTION is.
            stack.enter_context(jax.numpy_rank_promotion("allow"))
            if precision == "highest":
                stack.enter_context(jax.default_matmul_precision("highest"))
            return function(*arguments, **options)

    return in_context
