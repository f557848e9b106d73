"""A small segmenter after DeepLabv3+ (Chen et al., ECCV 2018), for a CPU as well as for a pod.

As there: an encoder, a pyramid of atrous convolutions, and a decoder that adds what is fine. Not as
there: few and plain layers, group normalisation, no weights of another task; strides are taken by
folding blocks of 2x2 pixels into channels, and the last layer unfolds 4x4 pixels from each of its
positions. All its convolutions are those of `models.convolutions`, which a CPU differentiates fast.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cddfuse_jax.models.convolutions import conv1x1, conv3x3

WIDTH = 24  # channels at half the size of the input; doubled at each halving
STRIDE = 8  # what heights and widths are padded to
_RATES = (1, 2, 4)  # of the encoder's last blocks
_PYRAMID = (3, 6)  # rates of the pyramid, beside its 1x1
_GROUPS = 8


class Convolution(nn.Module):
    """A convolution without bias, group normalisation, ReLU."""

    features: int
    size: int = 3
    rate: int = 1
    active: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w d"]:
        """Return ``features`` channels of the same height and width."""
        sides = (3, 3) if self.size == 3 else ()
        shape = (*sides, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        y = conv1x1(x, kernel) if self.size == 1 else atrous(x, kernel, self.rate)
        x = nn.GroupNorm(_GROUPS)(jnp.asarray(y))
        return nn.relu(x) if self.active else x


class Block(nn.Module):
    """Two 3x3 convolutions beside an identity."""

    rate: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Return an array of the same shape."""
        channels = x.shape[-1]
        y = Convolution(channels, rate=self.rate)(x)
        return nn.relu(x + Convolution(channels, rate=self.rate, active=False)(y))


class Segmenter(nn.Module):
    """Images to logits of classes, of the same height and width.

    Attributes:
        classes: how many.
        width: channels at half the size; 24 makes about 0.8 million parameters.
    """

    classes: int
    width: int = WIDTH

    @nn.compact
    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n h w classes"]:
        """Return logits; images of any size, standardised by channel."""
        height, width = images.shape[1:3]
        padding = ((0, 0), (0, -height % STRIDE), (0, -width % STRIDE), (0, 0))
        x = jnp.pad(images, padding, mode="edge")
        half = Convolution(self.width)(folded(x, 2))
        quarter = folded(half, 2)
        fine = Block()(Convolution(2 * self.width, size=1)(quarter))
        x = Convolution(4 * self.width, size=1)(folded(fine, 2))
        for rate in _RATES:
            x = Block(rate)(x)
        levels = [Convolution(2 * self.width, size=1)(x)]
        levels += [Convolution(2 * self.width, rate=rate)(x) for rate in _PYRAMID]
        x = Convolution(2 * self.width, size=1)(jnp.concatenate(levels, -1))
        n, h, w, c = fine.shape
        x = jax.image.resize(x, (n, h, w, c), "bilinear")
        x = Convolution(2 * self.width)(jnp.concatenate([x, fine], -1))
        x = jnp.concatenate([x, quarter], -1)
        logits = unfolded(nn.Dense(16 * self.classes)(x), 4)
        return logits[:, :height, :width]


def folded(
    x: Float[Array, "n h w c"], side: int
) -> Float[Array, "n h//{side} w//{side} c*{side}*{side}"]:
    """Make a pixel's channels of each block of ``side`` x ``side`` pixels."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // side, side, w // side, side, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h // side, w // side, side * side * c)


def unfolded(
    x: Float[Array, "n h w c"], side: int
) -> Float[Array, "n h*{side} w*{side} c//({side}*{side})"]:
    """Undo `folded`."""
    n, h, w, c = x.shape
    c //= side * side
    x = x.reshape(n, h, w, side, side, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h * side, w * side, c)


def atrous(
    x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c d"], rate: int
) -> Float[Array, "n h w d"]:
    """Convolve with taps ``rate`` pixels apart, zeros beyond the border.

    Each of the ``rate`` x ``rate`` grids that the taps stay on is an image by itself, so the dense
    convolution and its derivative serve.
    """
    if rate == 1:
        return conv3x3(x, kernel)
    n, h, w, c = x.shape
    x = jnp.pad(x, ((0, 0), (0, -h % rate), (0, -w % rate), (0, 0)))
    rows, columns = x.shape[1] // rate, x.shape[2] // rate
    grids = x.reshape(n, rows, rate, columns, rate, c).transpose(0, 2, 4, 1, 3, 5)
    y = conv3x3(grids.reshape(n * rate * rate, rows, columns, c), kernel)
    y = y.reshape(n, rate, rate, rows, columns, -1).transpose(0, 3, 1, 4, 2, 5)
    return y.reshape(n, rows * rate, columns * rate, -1)[:, :h, :w]
