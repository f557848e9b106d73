"""The two stages' losses, as in the release (`LossWeights` also gives the paper's)."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cddfuse_jax.config.fields import LossWeights
from cddfuse_jax.models import Residual
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.models.convolutions import AnyArray, summing_dtype
from cddfuse_jax.training.own_loss import OwnLoss, Parts

OfWholeBatch = Callable[[Parts], Parts]
RELEASE = LossWeights()


def reconstruction_loss(
    params,
    visible: Float[AnyArray, "n h w 1"],
    infrared: Float[AnyArray, "n h w 1"],
    *,
    weights: LossWeights = RELEASE,
    residual: bool = True,
    model: CDDFuse | None = None,
    of_whole_batch: OfWholeBatch | None = None,
) -> tuple[Float[Array, ""], Parts]:
    """Stage I: each modality is encoded and decoded on its own.

    5·SSIM + MSE of each modality, 2·decomposition, and 5·L1 between the spatial gradients of the
    visible image and its reconstruction. Images are in [0, 1], h and w at least 6 for SSIM's
    reflected border. ``params`` of the fusion layers are not used and may be absent. With
    ``residual`` the decoder adds the image that it reconstructs. The rest is as in `fusion_loss`.

    Returns:
        The total and its parts by name, unweighted.
    """
    model = model or CDDFuse.from_params(params)
    apply: Callable[..., Any] = functools.partial(model.apply, {"params": params})
    images = jnp.concatenate([visible, infrared])
    base, detail, _ = apply(images, method="encode")
    restored = apply(base, detail, images if residual else None, method="decode")
    restored_visible, restored_infrared = jnp.split(restored, 2)
    parts = {
        "ssim_vis": ssim_loss(visible, restored_visible),
        "ssim_ir": ssim_loss(infrared, restored_infrared),
        "mse_vis": jnp.mean(jnp.square(visible - restored_visible)),
        "mse_ir": jnp.mean(jnp.square(infrared - restored_infrared)),
        "gradient": spatial_gradient_loss(visible, restored_visible),
        **decomposition(base, detail, of_whole_batch),
    }
    total = (
        weights.ssim * (parts["ssim_vis"] + parts["ssim_ir"])
        + parts["mse_vis"]
        + parts["mse_ir"]
        + weights.reconstruction_gradient * parts["gradient"]
        + weights.decomposition * parts["decomposition"]
    )
    return total, parts


def fusion_loss(
    params,
    visible: Float[AnyArray, "n h w 1"],
    infrared: Float[AnyArray, "n h w 1"],
    *,
    weights: LossWeights = RELEASE,
    residual: Residual = "visible",
    model: CDDFuse | None = None,
    own: OwnLoss | None = None,
    of_whole_batch: OfWholeBatch | None = None,
) -> tuple[Float[Array, ""], Parts]:
    """Stage II: the fused image follows the brighter image and the stronger gradient.

    L1(max(v, i), f) + 10·L1(max(|∇v|, |∇i|), |∇f|) + 2·decomposition, and `signed_gradient_loss`
    where ``weights``, the coefficients, ask for it, and the user's parts, ``own`` (`own_loss`).
    Images are in [0, 1]. ``residual`` is what the decoder adds; ``model`` by default the network
    that ``params`` fit; ``of_whole_batch`` as in `decomposition`, for a share of a batch.

    Returns:
        The total and its parts by name, unweighted.
    """
    model = model or CDDFuse.from_params(params)
    fusion: Any = model.apply(
        {"params": params}, visible, infrared, residual, method="fuse_with_features"
    )
    base, detail, *_, fused = fusion
    intensity = jnp.mean(jnp.abs(jnp.maximum(visible, infrared) - fused))
    strongest = jnp.maximum(gradient_magnitude(visible), gradient_magnitude(infrared))
    gradient = jnp.mean(jnp.abs(strongest - gradient_magnitude(fused)))
    parts = {
        "fusion": intensity + weights.fusion_gradient * gradient,
        "intensity": intensity,
        "gradient": gradient,
        **decomposition(base, detail, of_whole_batch),
    }
    if weights.signed_gradient:
        parts["signed_gradient"] = signed_gradient_loss(visible, infrared, fused)
        parts["fusion"] += weights.signed_gradient * parts["signed_gradient"]
    total = parts["fusion"] + weights.decomposition * parts["decomposition"]
    if own:
        of_user, own_parts = own(visible, infrared, fusion)
        total, parts = total + of_user, parts | own_parts
    return total, parts


def decomposition(
    base: Float[AnyArray, "both h w features"],
    detail: Float[AnyArray, "both h w features"],
    of_whole_batch: OfWholeBatch | None = None,
) -> Parts:
    """cc(detail)² / (1.01 + cc(base)): small when base features agree and detail features do not.

    This is the one part of a loss that is no mean over samples but a function of two such means, so
    a batch that is computed in shares must give every share the correlations of the whole: the mean
    over the shares of the gradients is then the whole batch's gradient, not an approximation.

    Args:
        base: the visible images' features, then as many of infrared ones.
        detail: features of both in the same order.
        of_whole_batch: from {"cc_base", "cc_detail"} of these samples to those of the batch that
            they are a share of; without it they are the batch.

    Returns:
        "cc_base", "cc_detail" and "decomposition": values of the whole batch; their gradients are
        those of these samples' correlations.
    """
    cc = {
        "cc_base": correlation(*jnp.split(base, 2)),
        "cc_detail": correlation(*jnp.split(detail, 2)),
    }
    if of_whole_batch is not None:
        own = jax.lax.stop_gradient(cc)
        # c - own is 0 with the gradient of c: no collective is ever differentiated.
        cc = {name: whole + (cc[name] - own[name]) for name, whole in of_whole_batch(own).items()}
    return cc | {"decomposition": jnp.square(cc["cc_detail"]) / (1.01 + cc["cc_base"])}


def correlation(a: Float[AnyArray, "n h w c"], b: Float[AnyArray, "n h w c"]) -> Float[Array, ""]:
    """Mean over samples and channels of the Pearson correlation over pixels, each in [-1, 1]."""
    a, b = (x.astype(summing_dtype(x)) for x in (a, b))
    a, b = (x - jnp.mean(x, (1, 2), keepdims=True) for x in (a, b))

    def norm(x: Float[AnyArray, "n h w c"]) -> Float[Array, "n c"]:
        # sqrt has no gradient at 0, where a flat feature map lands; the release gives NaN there.
        square = jnp.sum(jnp.square(x), (1, 2))
        return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)

    eps = float(np.finfo(np.float32).eps)
    cc = jnp.sum(a * b, (1, 2)) / (eps + norm(a) * norm(b))
    return jnp.mean(jnp.clip(cc, -1.0, 1.0))


def ssim_loss(a: Float[AnyArray, "n h w 1"], b: Float[AnyArray, "n h w 1"]) -> Float[Array, ""]:
    """Mean of clip(1 - SSIM, 0, 1) / 2 for images in [0, 1]; 11x11 gaussian window."""
    blurred = blur(jnp.concatenate([a, b, a * a, b * b, a * b]))
    mean_a, mean_b, square_a, square_b, product = jnp.split(blurred, 5)
    variances = square_a - mean_a * mean_a + square_b - mean_b * mean_b
    covariance = product - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    ssim = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a * mean_a + mean_b * mean_b + c1) * (variances + c2)
    )
    return jnp.mean(jnp.clip(1 - ssim, 0.0, 1.0)) / 2


def gaussian_window() -> Float[np.ndarray, "11 11"]:
    """Return the release's window of sigma 1.5 with all its float32 roundings.

    SSIM takes small variances as differences of large means: the window's last digit shows in the
    loss's sixth.
    """
    offsets = np.arange(-5, 6, dtype=np.float64)
    taps = np.exp(-(offsets**2) / (2 * 1.5**2)).astype(np.float32)
    taps = taps / np.float32(taps.sum(dtype=np.float64))
    return np.outer(taps, taps)


def blur(image: Float[AnyArray, "n h w 1"]) -> Float[Array, "n h w 1"]:
    """Filter with `gaussian_window`, borders reflected."""
    return jax.lax.conv_general_dilated(
        jnp.pad(image, ((0, 0), (5, 5), (5, 5), (0, 0)), mode="reflect"),
        jnp.asarray(gaussian_window()[:, :, None, None], image.dtype),
        (1, 1),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=jax.lax.Precision.HIGHEST,
    )


def sobel(
    image: Float[AnyArray, "n h w 1"], padding: str
) -> tuple[Float[Array, "n h w 1"], Float[Array, "n h w 1"]]:
    """Sobel responses along x and y; ``padding`` is a mode of `jax.numpy.pad`."""
    x = jnp.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)), mode=padding)
    rows = x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]
    columns = x[:, :, :-2] + 2 * x[:, :, 1:-1] + x[:, :, 2:]
    return rows[:, :, 2:] - rows[:, :, :-2], columns[:, 2:] - columns[:, :-2]


def spatial_gradient_loss(
    a: Float[AnyArray, "n h w 1"], b: Float[AnyArray, "n h w 1"]
) -> Float[Array, ""]:
    """L1 between the spatial gradients (Sobel / 8, replicated border) of two images."""
    difference = jnp.stack(sobel(a, "edge")) / 8 - jnp.stack(sobel(b, "edge")) / 8
    return jnp.mean(jnp.abs(difference))


def signed_gradient_loss(
    visible: Float[AnyArray, "n h w 1"],
    infrared: Float[AnyArray, "n h w 1"],
    fused: Float[AnyArray, "n h w 1"],
) -> Float[Array, ""]:
    """L1 between the fused gradient and, at each pixel, the stronger source's, with its sign.

    mean(|∂x f - ∂x s| + |∂y f - ∂y s|), where s is the source whose |∂x| + |∂y| is larger (the
    visible one where they are equal); Sobel, zeros beyond the border.
    """
    stronger = gradient_magnitude(visible) >= gradient_magnitude(infrared)
    wanted = jnp.where(
        stronger, jnp.stack(sobel(visible, "constant")), jnp.stack(sobel(infrared, "constant"))
    )
    return 2 * jnp.mean(jnp.abs(wanted - jnp.stack(sobel(fused, "constant"))))


def gradient_magnitude(image: Float[AnyArray, "n h w 1"]) -> Float[Array, "n h w 1"]:
    """|Sobel_x| + |Sobel_y|, zeros beyond the border."""
    along_x, along_y = sobel(image, "constant")
    return jnp.abs(along_x) + jnp.abs(along_y)
