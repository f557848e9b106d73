"""Scores by comparing the fused image with each source pixel by pixel: MSE, RMSE, PSNR."""

import functools
import math

import numpy as np

from cddfuse_jax.metrics.record import Plane, metric

MSE = functools.partial(metric, "MSE", better="lower", measures="mean squared error to the sources")


@MSE(unit="grey levels²", source="as in the CDDFuse release", protocols=("release", "corrected"))
def mean_squared_error(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """MSE, squared grey levels: mean of the errors to visible and to infrared; lower is closer."""
    return (np.mean((fused - visible) ** 2) + np.mean((fused - infrared) ** 2)) / 2


@MSE(unit="of 1", source="as in L. Tang's evaluation and IVIF_ZOO", protocols=("tang", "ivif_zoo"))
def mean_squared_error_of_1(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """MSE of the protocols `tang` and `ivif_zoo`: the release's, of images divided by 255."""
    return mean_squared_error(fused, visible, infrared) / 255**2


@metric(
    "RMSE",
    unit="grey levels",
    better="lower",
    measures="root mean squared error to the sources",
    source="mean of the two roots of the mean squared errors",
    protocols=("papers",),
)
def root_mean_squared_error(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """RMSE, grey levels: mean of the root mean squared errors to visible and to infrared."""
    return sum(math.sqrt(np.mean((fused - x) ** 2)) for x in (visible, infrared)) / 2


@metric(
    "RMSE",
    unit="grey levels per root of pixels",
    better="lower",
    measures="root of the summed squared error to the sources, over the pixels",
    source="Jagalingam and Hegde 2015, as in VIFB",
    protocols=("vifb",),
)
def root_of_sum_over_pixels(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """RMSE of the protocol `vifb`: mean over both sources of sqrt(sum of squared errors)/(HW).

    The division by HW is outside the root, so the value falls with the size of the image: it
    is the true RMSE over sqrt(HW).
    """
    return sum(math.sqrt(np.sum((fused - x) ** 2)) for x in (visible, infrared)) / 2 / fused.size


PSNR = functools.partial(
    metric, "PSNR", unit="dB", measures="peak signal over the error to the sources"
)


@PSNR(source="as in the CDDFuse release", protocols=("release",))
def peak_signal_to_noise(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """PSNR, dB: 10 log10(peak²/MSE) with the fused image's own maximum as peak, as the release.

    Equal to both sources: infinite. All black: its peak is 0, and 0 dB is the value defined here
    (the release: minus infinity).
    """
    return _decibels(float(fused.max()), mean_squared_error(fused, visible, infrared))


@PSNR(
    source="peak 255 instead of the release's",
    protocols=("corrected",),
    change="peak 255 instead of the fused image's own maximum",
    why="a peak that depends on the image rewards one bright pixel and cannot be compared",
)
def peak_signal_to_noise_255(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """PSNR, dB, of the protocol `corrected`: the peak is 255 for every image."""
    return _decibels(255.0, mean_squared_error(fused, visible, infrared))


@PSNR(
    measures="peak signal over VIFB's RMSE to the sources",
    source="Jagalingam and Hegde 2015, as in VIFB",
    protocols=("vifb",),
)
def peak_signal_to_root_of_sum(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """PSNR, dB, of the protocol `vifb`: 10 log10(255²/r) with r its RMSE, which is not squared.

    Values near 58 dB, where the usual definition gives about 17.
    """
    return _decibels(255.0, root_of_sum_over_pixels(fused, visible, infrared))


@PSNR(source="as in L. Tang's evaluation and IVIF_ZOO", protocols=("tang", "ivif_zoo"))
def peak_signal_to_noise_of_1(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """PSNR, dB, of the protocols `tang` and `ivif_zoo`: peak 255, but the error of images 0-1.

    So it is 48.1 dB more than with one range for both.
    """
    return _decibels(255.0, mean_squared_error_of_1(fused, visible, infrared))


def _decibels(peak: float, error: float) -> float:
    if error == 0:
        return math.inf
    return 10 * math.log10(peak * peak / error) if peak > 0 else 0.0
