"""Whether a network can be fused in parts: what every branch of one's own must pass."""

import functools
from typing import Any

import jax
import numpy as np

from cddfuse_jax.errors import InputError
from cddfuse_jax.fusing.buckets import fuse_in_bucket
from cddfuse_jax.fusing.strips import fuse_in_strips
from cddfuse_jax.models.cddfuse import CDDFuse

_SIZE, _BUCKET, _ROWS = (11, 13), (16, 24), 3
_REMEDY = (
    "look at neighbours through layers.conv3x3, zero_padded or reflect_padded, and at all pixels "
    "through layers.sums alone (docs/changing_the_network.md)"
)


def check_network(model: CDDFuse, params: Any = None, tolerance: float = 1e-4) -> None:
    """Check that an image is fused alike as a whole, inside a larger array, and in strips.

    Args:
        model: the network; its branches may be one's own.
        params: its params; by default random ones.
        tolerance: the most by which results in [0, 1] may differ.
    """
    batch = _pair()
    visible, infrared = (image[0, :, :, 0] for image in batch)
    if params is None:
        params = model.init(jax.random.key(0), *batch)["params"]
    variables = {"params": params}
    whole = np.asarray(jax.jit(model.apply)(variables, *batch))[0, :, :, 0]
    for name, fuse in (
        ("inside a larger array", functools.partial(fuse_in_bucket, bucket=_BUCKET)),
        ("in strips", functools.partial(fuse_in_strips, rows=_ROWS)),
    ):
        try:
            part = fuse(model, variables, visible, infrared, "visible")
            difference = float(abs(part - whole).max())
        except InputError:
            raise
        except Exception as error:  # whatever a block of one's own raises there
            raise InputError(
                f"this network cannot be fused {name} ({error!r}); {_REMEDY}"
            ) from error
        if not difference <= tolerance:
            raise InputError(
                f"this network fuses other pixels {name} than as a whole, by up to "
                f"{difference:.2g} of 1; {_REMEDY}"
            )


def check_gradient(model: CDDFuse, params: Any = None, tolerance: float = 1e-4) -> None:
    """Check the derivatives of what is fused, by params and images, against finite differences.

    Args:
        model: as for `check_network`.
        params: likewise.
        tolerance: of the slope in a random direction, relative, in float64.
    """
    if params is None:
        params = model.init(jax.random.key(0), *_pair())["params"]
    with jax.enable_x64(True):
        random = np.random.default_rng(1)
        leaves, shape = jax.tree.flatten((params, *_pair()))
        leaves = [np.asarray(leaf, np.float64) for leaf in leaves]
        direction = [random.standard_normal(leaf.shape) * leaf.std() for leaf in leaves]
        weights = random.standard_normal((1, *_SIZE, 1))

        def value(leaves):
            params, *pair = jax.tree.unflatten(shape, leaves)
            return (weights * model.apply({"params": params}, *pair)).sum()

        compiled, step = jax.jit(value), 1e-6
        ahead, behind = (
            compiled([x + sign * step * d for x, d in zip(leaves, direction, strict=True)])
            for sign in (1, -1)
        )
        slope = float(ahead - behind) / (2 * step)
        gradient = jax.jit(jax.grad(value))(leaves)
        given = sum(float((g * d).sum()) for g, d in zip(gradient, direction, strict=True))
    if not abs(given - slope) <= tolerance * abs(slope):
        raise InputError(
            f"this network's derivative is {given:.6g} where finite differences find {slope:.6g}; "
            "look at the custom derivatives of its branches"
        )


def _pair() -> list[np.ndarray]:
    images = np.random.default_rng(0).random((2, 1, *_SIZE, 1), np.float32)
    return list(images)


@functools.cache
def _complaint(model: CDDFuse) -> str:
    try:
        check_network(model)
    except InputError as error:
        return str(error)
    return ""


def why_only_whole(model: CDDFuse) -> str:
    """Return why a network can be fused as a whole only; "" where it can be fused in parts.

    The release's branches can; one's own are tried, once for each network, with random params.
    """
    if not (model.base or model.detail):
        return ""
    return _complaint(model.clone(dtype=None))
