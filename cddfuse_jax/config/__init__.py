"""The config of a training run: its fields, how a file and options set them, how they may change.

The files in ``configs/`` start from `release` and change what differs.
"""

from cddfuse_jax.config.fields import check, flat, release, table
from cddfuse_jax.config.loading import load
from cddfuse_jax.config.resuming import check_resumable

__all__ = ["check", "check_resumable", "flat", "load", "release", "table"]
