"""The three convolutions of the network, on NHWC arrays, with torch's default initial weights.

A depthwise 3x3 is nine shifted multiply-adds: XLA's own grouped convolution is several times slower
on CPUs. Both 3x3 convolutions have their own derivative, so that autodiff keeps their input alone
and not nine shifted copies of it.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

from cddfuse_jax.models.arrays import AnyArray
from cddfuse_jax.models.precision import summing_dtype

_SHIFTS = [(dy, dx) for dy in range(3) for dx in range(3)]
_NHWC = ("NHWC", "HWIO", "NHWC")
# Parts of an image whose products, for a depthwise kernel's gradient, are added up in one pass.
_MOST_PARTS = 8


def torch_uniform(
    key: Key[Array, ""], shape: tuple[int, ...], dtype=jnp.float32
) -> Float[Array, "..."]:
    """Torch's default for a convolution: uniform in ±1/sqrt(fan_in).

    Kernels are (c_in, c_out) for a 1x1 and (3, 3, c_in / groups, c_out) for a 3x3, so that fan_in
    is the product of all axes but the last.
    """
    bound = 1 / math.sqrt(math.prod(shape[:-1]))
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def pad(x: Float[AnyArray, "n h w c"], mode: str = "constant") -> Float[Array, "n h+2 w+2 c"]:
    """Pad by one pixel all round; ``mode`` is ``constant`` (zeros) or ``reflect``."""
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode=mode)


def _as_matrix(x: Float[AnyArray, "n h w c"]) -> Float[AnyArray, "n*h*w c"]:
    return x.reshape(-1, x.shape[-1])


@jax.custom_vjp
def conv1x1(
    x: Float[AnyArray, "n h w c_in"], kernel: Float[AnyArray, "c_in c_out"]
) -> Float[AnyArray, "n h w c_out"]:
    """Mix channels, 1x1."""
    return x @ kernel


def _conv1x1_forward(x, kernel):
    return x @ kernel, (x, kernel)


def _conv1x1_backward(saved, cotangent):
    # Autodiff's kernel gradient transposes the cotangent, and computes it anew in that order.
    x, kernel = saved
    return cotangent @ kernel.T, _as_matrix(x).T @ _as_matrix(cotangent)


conv1x1.defvjp(_conv1x1_forward, _conv1x1_backward)


def channel_products(
    a: Float[AnyArray, "n h w c"], b: Float[AnyArray, "n h w d"]
) -> Float[Array, "n c d"]:
    """Sum over pixels the products of each channel of ``a`` with each of ``b``, image by image.

    In float32 or wider.
    """
    return jnp.einsum("nhwc,nhwd->ncd", a, b, preferred_element_type=summing_dtype(a))


@jax.custom_vjp
def mix_channels(
    x: Float[AnyArray, "n h w c_in"], kernels: Float[AnyArray, "n c_in c_out"]
) -> Float[Array, "n h w c_out"]:
    """Like `conv1x1` with a kernel per image."""
    return jnp.einsum("nhwc,nco->nhwo", x, kernels)


def _mix_forward(x, kernels):
    return mix_channels(x, kernels), (x, kernels)


def _mix_backward(saved, cotangent):
    x, kernels = saved
    d_kernels = channel_products(x, cotangent).astype(kernels.dtype)
    return mix_channels(cotangent, kernels.swapaxes(1, 2)), d_kernels


mix_channels.defvjp(_mix_forward, _mix_backward)


def _correlate_depthwise(
    padded: Float[AnyArray, "n h w c"], kernel: Float[AnyArray, "3 3 1 c"]
) -> Float[AnyArray, "n h-2 w-2 c"]:
    height, width = padded.shape[1] - 2, padded.shape[2] - 2
    products = (
        padded[:, dy : dy + height, dx : dx + width] * kernel[dy, dx, 0] for dy, dx in _SHIFTS
    )
    return sum(products)  # type: ignore[return-value]  # there are nine, so it is not 0


@jax.custom_vjp
def depthwise3x3(
    padded: Float[AnyArray, "n h w c"], kernel: Float[AnyArray, "3 3 1 c"]
) -> Float[AnyArray, "n h-2 w-2 c"]:
    """Depthwise 3x3 of an input that is padded already."""
    return _correlate_depthwise(padded, kernel)


def _depthwise_forward(padded, kernel):
    return _correlate_depthwise(padded, kernel), (padded, kernel)


def _depthwise_backward(saved, cotangent):
    padded, kernel = saved
    wide = jnp.pad(cotangent, ((0, 0), (2, 2), (2, 2), (0, 0)))
    d_padded = _correlate_depthwise(wide, kernel[::-1, ::-1])

    n, height, width, c = cotangent.shape
    parts = max(d for d in range(1, _MOST_PARTS + 1) if height % d == 0)
    rows = height // parts

    def tap(shift):
        dy, dx = shift

        def product(top):
            window = lax.dynamic_slice(padded, (0, top + dy, dx, 0), (n, rows, width, c))
            return window * cotangent[:, top : top + rows]

        partial = _as_matrix(sum(map(product, range(0, height, rows))))
        return jnp.ones((1, partial.shape[0]), partial.dtype) @ partial

    # A loop: unrolled, XLA fuses the nine into one that reads its arrays nine times.
    return d_padded, lax.map(tap, jnp.array(_SHIFTS)).reshape(kernel.shape)


depthwise3x3.defvjp(_depthwise_forward, _depthwise_backward)


@jax.custom_vjp
def conv3x3(
    x: Float[AnyArray, "n h w c_in"], kernel: Float[AnyArray, "3 3 c_in c_out"]
) -> Float[Array, "n h w c_out"]:
    """Dense 3x3 with zero padding."""
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_NHWC)


def _conv3x3_forward(x, kernel):
    return conv3x3(x, kernel), (x, kernel)


def _conv3x3_backward(saved, cotangent):
    x, kernel = saved
    d_x = conv3x3(cotangent, kernel[::-1, ::-1].swapaxes(2, 3))

    # Three taps at a time are one product of a decent size; a loop, as above.
    height, width = x.shape[1:3]
    padded = pad(x)
    columns = jnp.concatenate([padded[:, :, dx : dx + width] for dx in range(3)], -1)
    cotangent = _as_matrix(cotangent)

    def row(dy):
        window = lax.dynamic_slice_in_dim(columns, dy, height, axis=1)
        return _as_matrix(window).T @ cotangent

    return d_x, lax.map(row, jnp.arange(3)).reshape(kernel.shape)


conv3x3.defvjp(_conv3x3_forward, _conv3x3_backward)
