"""The network as an ONNX file, written only if ONNX Runtime gives what JAX gives."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.errors import InputError, install
from cddfuse_jax.fusing.whole import make_fuse
from cddfuse_jax.models import Residual
from cddfuse_jax.models.cddfuse import CDDFuse

# Of values in [0, 1]: far below what an 8-bit image shows, and two of its grey levels. A flat image
# makes the rounding errors of either library larger, so up to 1e-4 where JAX's own are as large.
LARGEST_ERROR = {"float32": 1e-5, "float16": 2 / 255}
TIMES_OF_JAX, AT_MOST = 4, 1e-4
SIZES = ((96, 128), (33, 47), (64, 64))  # of the pairs compared: the file takes any


def pairs_to_compare() -> dict[str, Float[np.ndarray, "2 h w"]]:
    """Return pairs in [0, 1], each of another size."""
    scene, noisy, flat = SIZES
    return {
        "a synthetic scene": np.stack(synthetic_pair(0, *scene)).astype(np.float32),
        "noise": np.random.default_rng(0).random((2, *noisy), np.float32),
        "a flat pair": np.full((2, *flat), 0.5, np.float32),
    }


def onnx_model(
    params: Any, residual: Residual = "visible", dtype: str = "float32"
) -> tuple[bytes, dict[str, float]]:
    """Return the network as an ONNX file's bytes, and how far it is from float64 on each pair.

    The model maps ``visible`` and ``infrared``, float32 (n, h, w) in [0, 1], to ``fused``, float32
    (n, h, w) in (0, 1), not stretched. n is any, h and w are at least 2.

    Args:
        params: the network's, of any of its sizes.
        residual: what the decoder adds.
        dtype: of weights and features: "float32" or "float16".

    Raises:
        InputError: the extra [onnx] is not installed, or it is further from JAX in float64 than
            `LARGEST_ERROR`, and than `TIMES_OF_JAX` times JAX in float32 is.
    """
    try:
        from cddfuse_jax.export.onnx_graph import fuse_graph
    except ImportError:
        raise InputError(f"writing ONNX needs the library onnx: {install('onnx')}") from None
    params = jax.tree.map(np.asarray, params)
    if (channels := params["encoder"]["patch_embed"].shape[2]) != 1:
        raise InputError(f"ONNX is written for networks of grey images, this has {channels}")
    data = fuse_graph(params, residual, dtype).SerializeToString()  # type: ignore[arg-type]
    model, run, errors = CDDFuse.from_params(params), runner(data), {}
    fuse = make_fuse(model, params, residual)
    with jax.enable_x64(True):
        exact = make_fuse(model, jax.tree.map(np.float64, params), residual)
    for name, pair in pairs_to_compare().items():
        with jax.enable_x64(True):
            truth = exact(*pair.astype(np.float64))
        own = np.abs(fuse(*pair) - truth).max()
        errors[name] = float(np.abs(run(*(side[None] for side in pair))[0] - truth).max())
        allowed = max(LARGEST_ERROR[dtype], min(TIMES_OF_JAX * own, AT_MOST))
        if not errors[name] <= allowed:  # NaN is no less
            raise InputError(
                f"not written: on {name} ONNX Runtime is off by {errors[name]:.1e}, allowed are "
                f"{allowed:.1e}; for {dtype} weights of this kind are too large"
            )
    return data, errors


def runner(
    data: bytes,
) -> Callable[[Float[np.ndarray, "n h w"], Float[np.ndarray, "n h w"]], Float[np.ndarray, "n h w"]]:
    """Return the model as a function of visible and infrared, run by ONNX Runtime on the CPU."""
    try:
        import onnxruntime
    except ImportError:
        raise InputError(f"running ONNX needs onnxruntime: {install('onnx')}") from None
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return lambda visible, infrared: session.run(
        ["fused"], {"visible": visible, "infrared": infrared}
    )[0]
