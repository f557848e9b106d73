"""Definition: mean of the fused image's forward differences."""

import numpy as np

from cddfuse_jax.metrics.record import Plane, metric, refuse_smaller_than


@metric(
    "definition",
    unit="grey levels",
    measures="mean difference to the pixels below and to the right; noise raises it too",
    source="also called figure definition: AG with forward differences",
    protocols=("papers",),
    needs_sources=False,
)
def definition(fused: Plane) -> float:
    """Definition, grey levels: mean of sqrt((dx² + dy²)/2) over (H-1)(W-1) pixels; flat: 0."""
    refuse_smaller_than(2, fused, "definition")
    across = np.diff(fused, axis=1)[:-1]
    down = np.diff(fused, axis=0)[:, :-1]
    return np.sqrt((across * across + down * down) / 2).mean()
