"""A custom loss: the base features alone. For `base_correlation.py`, and to copy from.

The recipe's decomposition term, cc_detail² / (1.01 + cc_base), no longer moves the base features
once those of detail do not correlate. This one always does.
"""

import jax.numpy as jnp

from cddfuse_jax.training.losses import correlation


def terms(visible, infrared, fusion):
    """Return 1 - cc_base, from 0 (alike) to 2."""
    return {"base_apart": 1 - correlation(*jnp.split(fusion.base, 2))}
