"""What the blocks are made of. All that looks at other pixels is here, and asks for the extent.

A custom block works in every way of fusing if it looks at its neighbours through `conv3x3`
and `zero_padded` (or `reflect_padded`) with `depthwise3x3`, and at all pixels through `sums`.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from cddfuse_jax.models import convolutions
from cddfuse_jax.models.attention import GramSums
from cddfuse_jax.models.convolutions import (
    AnyArray,
    conv1x1,
    depthwise3x3,
    summing_dtype,
    torch_uniform,
)
from cddfuse_jax.models.derivatives import pad
from cddfuse_jax.models.extent import Strip, current


def kernel(
    module: nn.Module, name: str, shape: tuple[int, ...], x: Float[AnyArray, "n h w c"]
) -> Float[AnyArray, "..."]:
    """Return the module's parameter ``name``, in the type of ``x``; its gradient keeps its own."""
    return module.param(name, torch_uniform, shape).astype(x.dtype)


def conv3x3(
    x: Float[AnyArray, "n h w c_in"], kernel: Float[AnyArray, "3 3 c_in c_out"]
) -> Float[Array, "n h w c_out"]:
    """Dense 3x3, zeros beyond the image."""
    return convolutions.conv3x3(current().border(x), kernel)


def conv3x3_in_parts(
    x: Float[AnyArray, "n h w c_in"], kernel: Float[AnyArray, "3 3 c_in c_out"], parts: int
) -> list[Float[Array, "n h w c_out//{parts}"]]:
    """Return `conv3x3`, split into ``parts`` along the channels."""
    x = current().border(x)
    if isinstance(current(), Strip):  # one pass over strips uses some of them, another the others
        return [convolutions.conv3x3(x, each) for each in jnp.split(kernel, parts, -1)]
    return jnp.split(convolutions.conv3x3(x, kernel), parts, -1)


def conv1x1_grouped3x3_in_parts(
    x: Float[AnyArray, "n h w c_in"],
    mix: Float[AnyArray, "c_in c_out"],
    taps: Float[AnyArray, "3 3 of_group c_out"],
    parts: int,
) -> list[Float[Array, "n h w c_out//{parts}"]]:
    """1x1, then a 3x3 in groups, zeros beyond the image; split into ``parts`` along the channels.

    Every group has as many outputs as inputs. Each part is made of its own weights, because
    splitting the wide result would copy it.
    """
    of_group = taps.shape[2]
    x = pad(current().border(x))  # before the 1x1, which has no bias: the same, on fewer channels

    def grouped(mix, taps):
        # A depthwise convolution of every group's first channel, repeated for all of its outputs,
        # one of every second, ...
        each = [jnp.repeat(mix[:, i::of_group], of_group, axis=-1) for i in range(of_group)]
        return sum(
            depthwise3x3(conv1x1(x, mixed), taps[:, :, i : i + 1]) for i, mixed in enumerate(each)
        )

    splits = (jnp.split(each.astype(x.dtype), parts, -1) for each in (mix, taps))
    return [grouped(*slices) for slices in zip(*splits, strict=True)]


def zero_padded(x: Float[AnyArray, "n h w c"]) -> Float[Array, "n h+2 w+2 c"]:
    """Add a border of one pixel, zeros beyond the image: what `depthwise3x3` takes."""
    return pad(current().border(x))


def reflect_padded(x: Float[AnyArray, "n h w c"]) -> Float[Array, "n h+2 w+2 c"]:
    """Add a border of one pixel, the image mirrored; h and w are at least 2."""
    return pad(current().border(x, "reflect"), "reflect")


def sums(q: Float[AnyArray, "n h w c"], k: Float[AnyArray, "n h w c"]) -> GramSums:
    """Sum over all pixels of the image, of q and k that 3x3 convolutions with zeros gave."""
    return current().sums(q, k)


class LayerNorm(nn.Module):
    """Normalise each pixel over its channels: biased variance, epsilon 1e-5."""

    @nn.compact
    def __call__(self, x: Float[AnyArray, "n h w c"]) -> Float[AnyArray, "n h w c"]:
        """Return weight · (x - mean) / sqrt(variance + 1e-5) + bias, like ``x``."""
        weight = self.param("weight", nn.initializers.ones, x.shape[-1:], jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:], jnp.float32)
        # Two passes: mean(x²) - mean(x)² would lose digits.
        wide = x.astype(summing_dtype(x))
        centred = wide - jnp.mean(wide, -1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), -1, keepdims=True)
        return (centred * lax.rsqrt(variance + 1e-5) * weight + bias).astype(x.dtype)


@jax.custom_jvp
def erf(x: Float[AnyArray, "*shape"]) -> Float[AnyArray, "*shape"]:
    """Return the error function; its derivative is as torch computes it, 2/√π · exp(-x²).

    JAX 0.12 computes it by a polynomial that does not pass through `jax.shard_map`.
    """
    return lax.erf(x)


@erf.defjvp
def _erf_jvp(primals, tangents):
    (x,), (tangent,) = primals, tangents
    return erf(x), 2 / math.sqrt(math.pi) * (tangent * jnp.exp(-jnp.square(x)))


def gelu(x: Float[AnyArray, "*shape"]) -> Float[AnyArray, "*shape"]:
    """Exact gelu, x · Φ(x), in the form that torch computes."""
    return 0.5 * x * (1 + erf(x * (0.5**0.5)))
