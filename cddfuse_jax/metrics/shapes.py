"""jaxtyping's array types; without that library (`cddfuse-metrics`) plain arrays."""

from typing import TYPE_CHECKING

__all__ = ["Bool", "Float", "Integer", "Num"]

try:
    from jaxtyping import Bool, Float, Integer, Num
except ImportError:
    if not TYPE_CHECKING:

        class Num:
            """``Num[np.ndarray, "h w"]`` is ``np.ndarray``."""

            def __class_getitem__(cls, item):
                return item[0]

        Bool = Float = Integer = Num
