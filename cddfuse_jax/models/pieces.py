"""Computing a block over a few images at a time, so that its maps stay in a TPU's fast memory."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Float

from cddfuse_jax.models.convolutions import AnyArray


def in_pieces(
    function: Callable, x: Float[AnyArray, "n h w c"], piece: int
) -> Float[AnyArray, "n h w c"]:
    """Return ``function`` of a batch, computed over ``piece`` images at a time.

    The backward pass recomputes each piece from its input.

    Args:
        function: from (n, h, w, c) to the same, which works on each image by itself.
        x: the batch; where ``piece`` does not divide it, the rest is a smaller piece.
        piece: images, from 1; 0 for all at once.
    """
    n = x.shape[0]
    if not piece or n <= piece:
        return function(x)
    function, whole = jax.checkpoint(function), n - n % piece
    pieces = x[:whole].reshape(-1, piece, *x.shape[1:])
    y = lax.map(function, pieces).reshape(whole, *x.shape[1:])
    return jnp.concatenate([y, function(x[whole:])]) if whole < n else y


def module_in_pieces(
    module: nn.Module, x: Float[AnyArray, "n h w c"], piece: int
) -> Float[AnyArray, "n h w c"]:
    """Like `in_pieces`, of a bound module."""
    if not piece or x.shape[0] <= piece or module.is_initializing():
        return module(x)
    alone, variables = module.clone(parent=None, name=None), module.variables
    return in_pieces(lambda x: alone.apply(variables, x), x, piece)
