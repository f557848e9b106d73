"""What jaxtyping's import hook makes of the package's functions while they are tested.

Annotations of arrays are checked, and no others: tests give wrong options and wrong files on
purpose, to see what is said about them.
"""

import typing
from collections.abc import Callable

from beartype import BeartypeConf, BeartypeStrategy, beartype
from jaxtyping import AbstractArray

_EVERY_ITEM = BeartypeConf(strategy=BeartypeStrategy.On)


def check_arrays(function: Callable) -> Callable:
    """Return the function with a check of those arguments and results that are arrays."""
    arrays = {
        name: annotation
        for name, annotation in function.__annotations__.items()
        if tells_of_arrays(annotation)
    }
    function.__annotations__ = arrays
    return beartype(function, conf=_EVERY_ITEM) if arrays else function


def tells_of_arrays(annotation: object) -> bool:
    """Whether an annotation is one of jaxtyping's, or has one in it, as ``Float[...] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, AbstractArray):
        return True
    return any(map(tells_of_arrays, typing.get_args(annotation)))
