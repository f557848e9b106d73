"""Image fusion scores as five evaluators compute them, by NumPy."""

from cddfuse_metrics._version import __version__
from cddfuse_metrics.errors import InputError
from cddfuse_metrics.metrics import METRICS, PROTOCOLS, compute

__all__ = ["METRICS", "PROTOCOLS", "InputError", "__version__", "compute"]
