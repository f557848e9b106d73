"""The fusing network lowered to StableHLO, for any number and size of images."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array, Float

from cddfuse_jax.errors import InputError, install
from cddfuse_jax.models import Residual
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.models.derivatives import implementations_for

LEAST_SIDE = 8


def export_fuse(
    params,
    residual: Residual = "visible",
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
    model: CDDFuse | None = None,
) -> export.Exported:
    """Lower the network with its weights to StableHLO, for any number and size of images.

    The exported function maps visible and infrared, float32 (n, h, w) in [0, 1] with h and w at
    least 8, to the fused luma, float32 (n, h, w) in (0, 1), not stretched.
    """
    model = model or CDDFuse.from_params(params)
    params = jax.tree.map(jnp.asarray, params)

    def fuse(
        visible: Float[Array, "n h w"], infrared: Float[Array, "n h w"]
    ) -> Float[Array, "n h w"]:
        images = (x[..., None] for x in (visible, infrared))
        fused: Any = model.apply({"params": params}, *images, residual=residual, method="fuse")
        return fused[..., 0]

    shape = export.symbolic_shape(
        "n, h, w", constraints=("n >= 1", f"h >= {LEAST_SIDE}", f"w >= {LEAST_SIDE}")
    )
    image = jax.ShapeDtypeStruct(shape, jnp.float32)
    with implementations_for("all"):
        return export.export(jax.jit(fuse), platforms=tuple(platforms))(image, image)


def serialized(exported: export.Exported) -> bytes:
    """Return the bytes of a file that `jax.export.deserialize` reads."""
    try:
        return bytes(exported.serialize())
    except ImportError:
        raise InputError(f"an exported file is a flatbuffer: {install('export')}") from None
