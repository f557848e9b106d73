"""How far features are apart: base ones should agree across modalities, detail ones should not."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cddfuse_jax.models.arrays import AnyArray
from cddfuse_jax.models.precision import summing_dtype

Parts = dict[str, Float[Array, ""]]
OfWholeBatch = Callable[[Parts], Parts]


def decomposition(
    base: Float[AnyArray, "both h w features"],
    detail: Float[AnyArray, "both h w features"],
    of_whole_batch: OfWholeBatch | None = None,
) -> Parts:
    """cc(detail)² / (1.01 + cc(base)): small when base features agree and detail features do not.

    This is the one part of a loss that is no mean over samples but a function of two such means, so
    a batch that is computed in shares must tell every share the correlations of the whole: the mean
    over the shares of the gradients is then the whole batch's gradient, not an approximation.

    Args:
        base: the visible images' features, then as many of infrared ones.
        detail: likewise.
        of_whole_batch: from {"cc_base", "cc_detail"} of these samples to those of the batch that
            they are a share of; without it they are the batch.

    Returns:
        "cc_base", "cc_detail" and "decomposition": values of the whole batch; their gradients are
        those of these samples' correlations.
    """
    cc = {
        "cc_base": correlation(*jnp.split(base, 2)),
        "cc_detail": correlation(*jnp.split(detail, 2)),
    }
    if of_whole_batch is not None:
        own = jax.lax.stop_gradient(cc)
        # c - own is 0 with the gradient of c: no collective is ever differentiated.
        cc = {name: whole + (cc[name] - own[name]) for name, whole in of_whole_batch(own).items()}
    return cc | {"decomposition": jnp.square(cc["cc_detail"]) / (1.01 + cc["cc_base"])}


def correlation(a: Float[AnyArray, "n h w c"], b: Float[AnyArray, "n h w c"]) -> Float[Array, ""]:
    """Mean over samples and channels of the Pearson correlation over pixels, each in [-1, 1]."""
    a, b = (x.astype(summing_dtype(x)) for x in (a, b))
    a, b = (x - jnp.mean(x, (1, 2), keepdims=True) for x in (a, b))

    def norm(x: Float[AnyArray, "n h w c"]) -> Float[Array, "n c"]:
        # sqrt has no gradient at 0, where a flat feature map lands; the release gives NaN there.
        square = jnp.sum(jnp.square(x), (1, 2))
        return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)

    eps = float(np.finfo(np.float32).eps)
    cc = jnp.sum(a * b, (1, 2)) / (eps + norm(a) * norm(b))
    return jnp.mean(jnp.clip(cc, -1.0, 1.0))
