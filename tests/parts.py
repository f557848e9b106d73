"""Custom parts and terms of a loss as users write them, and as they must not."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from cddfuse_jax.models.layers import LayerNorm, conv3x3, kernel, sums

zero = nn.initializers.zeros


class Careful(nn.Module):
    """A block that starts as the identity, and looks at pixels as it should, near and all."""

    features: int

    @nn.compact
    def __call__(self, x):
        c = self.features
        y = conv3x3(LayerNorm(name="norm")(x), kernel(self, "kernel", (3, 3, c, c), x))
        found = sums(y, y)
        weight = nn.sigmoid(found.qk.mean(-1) / (1 + found.qq))[:, None, None].astype(x.dtype)
        return x + y * weight * self.param("scale", zero, (c,)).astype(x.dtype)


class SqueezeExcite(nn.Module):
    """The same start, and the mean over all of the array."""

    features: int

    @nn.compact
    def __call__(self, x):
        mean = nn.relu(nn.Dense(4, name="squeeze")(x.mean((1, 2), keepdims=True)))
        return x * (1 + nn.Dense(self.features, name="excite", kernel_init=zero)(mean))


class Above(nn.Module):
    """The same start, and the sum of all rows above."""

    features: int

    @nn.compact
    def __call__(self, x):
        return x + nn.Dense(self.features, name="out", kernel_init=zero)(x.cumsum(1))


class Far(nn.Module):
    """The same start, and pixels 40 away."""

    features: int

    @nn.compact
    def __call__(self, x):
        far = nn.Conv(self.features, (3, 3), kernel_dilation=40, kernel_init=zero, name="far")
        return x + far(x)


class Mixing(nn.Module):
    def __call__(self, x):
        return x - x.mean(0)


class Pointwise(nn.Module):
    """A part that looks at no neighbour, and is compiled in no time."""

    features: int

    @nn.compact
    def __call__(self, x):
        return x + nn.Dense(self.features, name="out")(x)


class Nothing(nn.Module):
    """A branch left out: no params."""

    def __call__(self, x):
        return x


class Learned(nn.Module):
    """A fusion rule with params: a gate between both modalities, pixel by pixel."""

    @nn.compact
    def __call__(self, visible, infrared):
        both = jnp.concatenate([visible, infrared], -1)
        gate = nn.sigmoid(nn.Dense(visible.shape[-1], name="gate")(both))
        return gate * visible + (1 - gate) * infrared


def larger(visible, infrared):
    return jnp.maximum(visible, infrared)


maximum = jnp.maximum  # no Python function


class Sized(nn.Module):
    window: int

    def __call__(self, x):
        return x


class Halving(nn.Module):
    def __call__(self, x):
        return x[:, ::2, ::2]


class Doubling(nn.Module):
    def __call__(self, x):
        return jnp.concatenate([x, x], -1)


class Two(nn.Module):
    def __call__(self, x):
        return x, x


class Narrow(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(x.shape[-1], dtype=jnp.bfloat16)(x)


class Batch(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.BatchNorm(use_running_average=False)(x)


class Drop(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dropout(0.5, deterministic=False)(x)


class Leaves(nn.Module):
    def __call__(self, x):
        raise SystemExit


class Mode(nn.Module):
    def __call__(self, x, train):
        return x


class Scale(nn.Module):
    """A weight for each channel."""

    features: int

    @nn.compact
    def __call__(self, x):
        return x * self.param("weight", nn.initializers.ones, (self.features,))


class Steep(nn.Module):
    """A branch whose derivative is twice too large."""

    @nn.compact
    def __call__(self, x):
        steep = jax.custom_vjp(lambda x: 3 * x)
        steep.defvjp(lambda x: (3 * x, None), lambda _, cotangent: (6 * cotangent,))
        return steep(x)


def terms(visible, infrared, fusion):
    n = visible.shape[0]
    base = fusion.base
    return {"apart": jnp.mean((base[:n] - base[n:]) ** 2), "bright": -fusion.image.mean()}


def whole_image(visible, infrared, fusion):
    return {"apart": fusion.image}


def taken(visible, infrared, fusion):
    return {"gradient": fusion.image.mean()}


def fails(visible, infrared, fusion):
    return {"apart": fusion.picture.mean()}
