"""Scores by comparing the fused image with each source pixel by pixel: MSE, PSNR, SSIM."""

import math

import numpy as np
import skimage  # whose parts are imported when first used

from cddfuse_jax.metrics.signature import of_three_images, refuse_smaller_than

_SSIM_WINDOW = 7


@of_three_images
def mean_squared_error(fused, infrared, visible):
    """MSE, squared grey levels: mean of the errors to infrared and to visible; lower is closer."""
    return _mse(fused, infrared, visible)


@of_three_images
def peak_signal_to_noise(fused, infrared, visible):
    """PSNR, dB: 10 log10(peak²/MSE) with the fused image's own maximum as peak, as the release.

    Equal to both sources: infinite. All black: its peak is 0, and 0 dB is the value defined here
    (the release: minus infinity).
    """
    return _psnr(float(fused.max()), _mse(fused, infrared, visible))


@of_three_images
def peak_signal_to_noise_255(fused, infrared, visible):
    """PSNR, dB, of the protocol `corrected`: the peak is 255 for every image."""
    return _psnr(255.0, _mse(fused, infrared, visible))


@of_three_images
def ssim(fused, infrared, visible):
    """SSIM(fused, infrared) + SSIM(fused, visible), at most 2, as in the release.

    scikit-image's default: 7x7 uniform window, in float32, with data range 2. For values 0-255
    that range makes the stabilising constants vanish, see the protocol `corrected`. A flat image
    has defined values: the constants are not 0.

    Raises:
        InputError: the image is smaller than 7x7.
    """
    return _ssim(fused, infrared, visible, data_range=2)


@of_three_images
def ssim_255(fused, infrared, visible):
    """SSIM of the protocol `corrected`: data range 255, float64; the sum over the two stays.

    Raises:
        InputError: the image is smaller than 7x7.
    """
    double = (image.astype(np.float64) for image in (fused, infrared, visible))
    return _ssim(*double, data_range=255)


def _mse(fused, infrared, visible) -> float:
    fused = fused.astype(np.float64)
    return (np.mean((fused - infrared) ** 2) + np.mean((fused - visible) ** 2)) / 2


def _psnr(peak: float, error: float) -> float:
    if error == 0:
        return math.inf
    return 10 * math.log10(peak * peak / error) if peak > 0 else 0.0


def _ssim(fused, infrared, visible, data_range: float) -> float:
    refuse_smaller_than(_SSIM_WINDOW, fused, "SSIM")
    return sum(
        skimage.metrics.structural_similarity(
            fused, source, win_size=_SSIM_WINDOW, data_range=data_range
        )
        for source in (infrared, visible)
    )
