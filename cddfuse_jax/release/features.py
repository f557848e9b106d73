"""Every feature and image of a pair by name, as the port and as the release compute them."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cddfuse_jax.models import RESIDUALS, Precision
from cddfuse_jax.models.cddfuse import CDDFuse, select_residual
from cddfuse_jax.models.precision import computed, features_dtype


def run_port(
    params: Any, visible: np.ndarray, infrared: np.ndarray, precision: Precision = "float32"
) -> dict[str, np.ndarray]:
    """Return all features and images, (1, c, h, w), of a float32 pair (h, w) in [0, 1]."""
    model = CDDFuse.from_params(params, dtype=features_dtype(precision))
    return computed(_run_model, precision)(model, params, visible, infrared)


@functools.cache
def _program(model: CDDFuse, method: str, **options):
    """Compile a part of the network once, and not for every use."""
    return jax.jit(functools.partial(model.apply, method=method, **options))


def _run_model(model, params, visible, infrared) -> dict[str, np.ndarray]:
    encode, fuse_features, decode = (
        functools.partial(_program(model, method), {"params": params})
        for method in ("encode", "fuse_features", "decode")
    )
    vis, ir = (np.asarray(image, np.float32)[None, :, :, None] for image in (visible, infrared))
    features = [jnp.split(feature, 2) for feature in encode(np.concatenate([vis, ir]))]
    result = _named(*features)
    base, detail = fuse_features(*zip(*features[:2], strict=True))
    result |= {"fused_base": base, "fused_detail": detail}
    for i, (name, image) in enumerate((("recon_vis", vis), ("recon_ir", ir))):
        result[name] = decode(features[0][i], features[1][i], image)
    for residual in RESIDUALS:
        fuse = _program(model, "fuse", residual=residual)
        result[f"fuse_{residual}"] = fuse({"params": params}, vis, ir)
    return {name: np.asarray(array).transpose(0, 3, 1, 2) for name, array in result.items()}


def run_release(
    modules: dict[str, Any], visible: np.ndarray, infrared: np.ndarray, dtype: str
) -> dict[str, np.ndarray]:
    """Return all features and images of the release, run in ``float32`` or ``float64``.

    Arrays are (1, c, h, w); images are float32 (h, w) in [0, 1].
    """
    import torch

    encoder, decoder, base_fusion, detail_fusion = (
        modules[name].to(getattr(torch, dtype))
        for name in ("DIDF_Encoder", "DIDF_Decoder", "BaseFuseLayer", "DetailFuseLayer")
    )
    vis, ir = (
        torch.from_numpy(np.array(image, dtype))[None, None] for image in (visible, infrared)
    )
    with torch.inference_mode():
        features = [encoder(image) for image in (vis, ir)]
        result = _named(*zip(*features, strict=True))
        base = base_fusion(features[0][0] + features[1][0])
        detail = detail_fusion(features[0][1] + features[1][1])
        result |= {"fused_base": base, "fused_detail": detail}
        result["recon_vis"] = decoder(vis, *features[0][:2])[0]
        result["recon_ir"] = decoder(ir, *features[1][:2])[0]
        for residual in RESIDUALS:
            added = select_residual(residual, vis, ir)
            result[f"fuse_{residual}"] = decoder(added, base, detail)[0]
    return {name: array.numpy() for name, array in result.items()}


def where_it_runs(precision: Precision) -> str:
    """Say on what the port runs, and how it multiplies."""
    set_to = jax.config.jax_default_matmul_precision
    products = "highest" if precision == "highest" else set_to or "the backend's default"
    return f"port on {jax.default_backend()}, precision {precision}, products in {products}"


def _named(base, detail, shallow) -> dict[str, Any]:
    return {
        f"{modality}_{kind}": feature[i]
        for i, modality in enumerate(("vis", "ir"))
        for kind, feature in (("base", base), ("detail", detail), ("shallow", shallow))
    }
