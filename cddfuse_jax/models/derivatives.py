"""Derivatives of the two 3x3 convolutions, and the choice of an implementation by platform.

An implementation for one platform is kept where it was measured to gain 10 % of the whole program.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

AnyArray = jax.Array | np.ndarray
AnyMap = Any  # such an array, or one that is planned only (`fusing.strip_plan`)
_plain: contextvars.ContextVar[bool] = contextvars.ContextVar("plain", default=False)
_platform: contextvars.ContextVar[str] = contextvars.ContextVar("platform", default="")
GPUS = ("cuda", "rocm")


@contextlib.contextmanager
def plain_derivatives() -> Iterator[None]:
    """Differentiate what is traced in the block by JAX alone.

    For forward mode, which the derivatives here do not have; reverse mode takes more memory and
    time so.
    """
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def or_plain(function: jax.custom_vjp) -> Callable:
    """Return a function with a derivative of its own, without it in `plain_derivatives`."""

    @functools.wraps(function.fun)
    def chosen(*arguments):
        return function.fun(*arguments) if _plain.get() else function(*arguments)

    return chosen


_SHIFTS = [(dy, dx) for dy in range(3) for dx in range(3)]
NHWC = ("NHWC", "HWIO", "NHWC")
# Parts of an image whose products, for a depthwise kernel's gradient, are added up in one pass.
_MOST_PARTS = 8


@contextlib.contextmanager
def implementations_for(platform: str) -> Iterator[None]:
    """Trace, in the block, the implementations for another platform than the default backend.

    That is ``cpu``, ``gpu``, ``tpu``, or ``all`` for a program that is exported to several. The
    function that is traced must be a new one: JAX remembers how it traced others.
    """
    token = _platform.set(platform)
    try:
        yield
    finally:
        _platform.reset(token)


def by_platform(*arguments, default: Callable, **implementations: Callable):
    """Return what the implementation for ``cpu``, ``gpu`` or ``tpu``, or the default, computes.

    Values are the same on every platform. Only the implementation for the default device is traced,
    unless `implementations_for` says otherwise: tracing all takes several times as long.
    """
    device = jax.config.jax_default_device
    platform = _platform.get() or getattr(device, "platform", device or jax.default_backend())
    if platform != "all":
        name = "gpu" if platform in GPUS else platform
        return implementations.get(name, default)(*arguments)
    gpu = implementations.pop("gpu", default)
    implementations |= dict.fromkeys(GPUS, gpu) | {"default": default}
    # New functions: JAX remembers how it traced one, be it in `plain_derivatives` or not.
    new = {name: functools.partial(each) for name, each in implementations.items()}
    return lax.platform_dependent(*arguments, **new)


def summing_dtype(x: Float[AnyArray, "..."]) -> jnp.dtype:
    """Return the type in which to sum over many numbers like those of ``x``: float32 or wider."""
    return jnp.promote_types(x.dtype, jnp.float32)


def pad(x: Float[AnyArray, "n h w c"], mode: str = "constant") -> Float[Array, "n h+2 w+2 c"]:
    """Pad by one pixel all round; ``mode`` is ``constant`` (zeros) or ``reflect``."""
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode=mode)


def as_matrix(x: Float[AnyArray, "n h w c"]) -> Float[AnyArray, "n*h*w c"]:
    """Return a row per pixel."""
    return x.reshape(-1, x.shape[-1])


@jax.jit
def correlate_depthwise(
    padded: Float[AnyArray, "n h w c"], kernel: Float[AnyArray, "3 3 1 c"]
) -> Float[AnyArray, "n h-2 w-2 c"]:
    """Depthwise 3x3 of an image with its border, as nine shifted multiply-adds."""
    height, width = padded.shape[1] - 2, padded.shape[2] - 2
    products = (
        padded[:, dy : dy + height, dx : dx + width] * kernel[dy, dx, 0] for dy, dx in _SHIFTS
    )
    return sum(products)  # type: ignore[return-value]  # there are nine, so it is not 0


def correlate(
    x: Float[Array, "n h w c_in"], kernel: Float[Array, "3 3 c_in c_out"]
) -> Float[Array, "n h w c_out"]:
    """Dense 3x3 convolution, zeros beyond the border."""
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=NHWC)


@jax.jit
def depthwise_backward(
    saved: tuple[Float[AnyArray, "n h w c"], Float[AnyArray, "3 3 1 c"]],
    cotangent: Float[AnyArray, "n h-2 w-2 c"],
) -> tuple[Float[Array, "n h w c"], Float[Array, "3 3 1 c"]]:
    """Return the cotangents of an image with its border and its depthwise kernel."""
    padded, kernel = saved
    wide = jnp.pad(cotangent, ((0, 0), (2, 2), (2, 2), (0, 0)))
    d_padded = correlate_depthwise(wide, kernel[::-1, ::-1])

    n, height, width, c = cotangent.shape
    parts = max(d for d in range(1, _MOST_PARTS + 1) if height % d == 0)
    rows = height // parts

    def tap(shift):
        dy, dx = shift

        def product(top):
            window = lax.dynamic_slice(padded, (0, top + dy, dx, 0), (n, rows, width, c))
            return window * cotangent[:, top : top + rows]

        partial = as_matrix(sum(map(product, range(0, height, rows))))
        return jnp.ones((1, partial.shape[0]), partial.dtype) @ partial

    # A loop: unrolled, XLA fuses the nine into one that reads its arrays nine times.
    return d_padded, lax.map(tap, jnp.array(_SHIFTS)).reshape(kernel.shape)


def conv3x3_backward(
    saved: tuple[Float[AnyArray, "n h w c_in"], Float[AnyArray, "3 3 c_in c_out"]],
    cotangent: Float[AnyArray, "n h w c_out"],
) -> tuple[Float[Array, "n h w c_in"], Float[Array, "3 3 c_in c_out"]]:
    """Return the cotangents of an image and its dense kernel."""
    return by_platform(
        *saved, cotangent, cpu=_conv3x3_backward_looped, default=_conv3x3_backward_fused
    )


@jax.jit
def _conv3x3_backward_fused(x, kernel, cotangent):
    return jax.vjp(correlate, x, kernel)[1](cotangent)


@jax.jit
def _conv3x3_backward_looped(x, kernel, cotangent):
    d_x = correlate(cotangent, kernel[::-1, ::-1].swapaxes(2, 3))

    # Three taps at a time are one product of a decent size; a loop, as above.
    height, width = x.shape[1:3]
    padded = pad(x)
    columns = jnp.concatenate([padded[:, :, dx : dx + width] for dx in range(3)], -1)
    cotangent = as_matrix(cotangent)

    def row(dy):
        window = lax.dynamic_slice_in_dim(columns, dy, height, axis=1)
        return as_matrix(window).T @ cotangent

    return d_x, lax.map(row, jnp.arange(3)).reshape(kernel.shape)
