"""How near two programs must come that compute the same, on any CPU.

A batch and a single pair, a whole image and its strips, an exported network and the live one are
compiled into different programs. These add up in different orders, and in others again on another
CPU: none of their bits has to be equal. What binds them is the float64 result, and how far float32
carries: `float32_error` measures it in float64, by moving every input by as much as rounding
does, so it is the same on every machine.

Exactly equal is only what one program gives of the same values twice.
"""

import functools
from collections.abc import Callable

import jax
import numpy as np
from programs import compiler_options

# A program rounds after every operation, `float32_error` moves only what goes in: of small networks
# with three draws of params, four sizes of images, compiled for SSE4.2 and AVX-512, the quotient
# of both errors was 0.2 to 1.7.
FACTOR = 8
# Of values with 8 bits: one grey level apart where a result lies next to a half.
SHARE = 1 / 200


def wide(tree):
    """Return a tree's arrays in float64."""
    return jax.tree.map(np.float64, tree)


def float32_error(function: Callable, *arguments, unit: float = 2.0**-24) -> tuple:
    """Return a function's float64 results and how far float32's rounding moves them.

    Args:
        function: of trees of arrays to one array.
        *arguments: as float32 is given them.
        unit: relative error of a rounded number; 2**-9 for bfloat16.

    """
    rng = np.random.default_rng(17)

    def moved(leaf):
        return leaf * (1 + unit * rng.choice([-1, 1], leaf.shape))

    with jax.enable_x64(True):
        compiled = jax.jit(function, compiler_options=compiler_options())
        truth = np.asarray(compiled(*wide(arguments)))
        draws = (compiled(*jax.tree.map(moved, wide(arguments))) for _ in range(4))
        return truth, max(float(abs(draw - truth).max()) for draw in draws)


def assert_agrees(found, function: Callable, *arguments, unit: float = 2.0**-24) -> None:
    """Assert that ``found`` is what ``function`` gives, up to `FACTOR` times the rounding error."""
    truth, error = float32_error(function, *arguments, unit=unit)
    assert found.shape == truth.shape
    off = abs(np.float64(found) - truth).max()
    assert off <= FACTOR * error, f"off by {off:.2e}, float32 carries to {error:.2e}"


@functools.cache
def fusing(model, residual: str) -> Callable:
    """Return a function of params and a pair (h, w) to the fused image (h, w)."""

    def fuse(params, *pair):
        images = (image[None, ..., None] for image in pair)
        return model.apply({"params": params}, *images, residual, method="fuse")[0, ..., 0]

    return fuse


def assert_fused(found, model, params, visible, infrared, residual="visible", **options) -> None:
    """Assert that ``found`` (h, w) is the network's fused image of a float32 pair (h, w)."""
    assert_agrees(found, fusing(model, residual), params, visible, infrared, **options)


def assert_same_levels(found, expected, most: int = 1) -> None:
    """Assert that 8-bit images differ by ``most`` levels, and in at most `SHARE` of the values.

    Two values of a small image may always differ.
    """
    assert found.shape == expected.shape and found.dtype == expected.dtype == np.uint8
    apart = abs(np.int16(found) - expected)
    assert apart.max(initial=0) <= most, f"{apart.max()} levels apart"
    assert (apart > 0).sum() <= max(2, SHARE * apart.size), f"{(apart > 0).sum()} of {apart.size}"
