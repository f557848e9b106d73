"""Fusion scores under the protocols of the field, computed by NumPy on the CPU, without JAX.

from cddfuse_jax import metrics

metrics.compute(fused, visible, infrared, ["VIF", "Qcb"], protocol="vifb")  # {"VIF": ..., ...}
metrics.METRICS["VIF"](fused, visible, infrared)  # one score of HxW arrays, 0-255
metrics.flicker(fused_frames, visible_frames, infrared_frames)  # of a video
metrics.PROTOCOLS["vifb"].metrics                 # the scores of a protocol, and what they mean
"""

from cddfuse_jax.metrics.compute import compute
from cddfuse_jax.metrics.flicker import flicker
from cddfuse_jax.metrics.protocols import METRICS, PAPER_SCORES, PROTOCOLS, Protocol
from cddfuse_jax.metrics.record import Metric

__all__ = ["METRICS", "PAPER_SCORES", "PROTOCOLS", "Metric", "Protocol", "compute", "flicker"]
