"""The scores, a file for each kind: adding one is one file."""

import functools
import importlib
import pkgutil

from cddfuse_jax.metrics.record import RECORDS, Metric


@functools.cache
def records() -> tuple[Metric, ...]:
    """Return all scores: importing the modules of this folder enters them."""
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        importlib.import_module(f"{__name__}.{module}")
    return tuple(RECORDS)
