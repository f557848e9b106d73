"""Fusion scores: ``METRICS[name](fused, infrared, visible) -> float`` on HxW images, 0-255.

The first eight are the columns of the paper's tables, in its order; all twelve are computed as in
the release. `cddfuse_jax.metrics.protocols` says what each means and what else may be computed.
"""

from cddfuse_jax.metrics.correlation import correlation, sum_of_correlations_of_differences
from cddfuse_jax.metrics.information import entropy, mutual_information
from cddfuse_jax.metrics.qabf import edge_preservation
from cddfuse_jax.metrics.similarity import mean_squared_error, peak_signal_to_noise, ssim
from cddfuse_jax.metrics.statistics import average_gradient, spatial_frequency, standard_deviation
from cddfuse_jax.metrics.vif import visual_information_fidelity

METRICS = {
    "EN": entropy,
    "SD": standard_deviation,
    "SF": spatial_frequency,
    "MI": mutual_information,
    "SCD": sum_of_correlations_of_differences,
    "VIF": visual_information_fidelity,
    "Qabf": edge_preservation,
    "SSIM": ssim,
    "AG": average_gradient,
    "CC": correlation,
    "MSE": mean_squared_error,
    "PSNR": peak_signal_to_noise,
}

__all__ = ["METRICS"]
