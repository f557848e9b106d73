"""jaxtyping's array types where it is loaded; else plain arrays.

Scores do without it: `cddfuse-metrics` has none, and it takes longer to load than all of them.
"""

import sys
from typing import TYPE_CHECKING

__all__ = ["Bool", "Float", "Integer", "Num"]

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool, Float, Integer, Num
else:

    class Num:
        """``Num[np.ndarray, "h w"]`` is ``np.ndarray``."""

        def __class_getitem__(cls, item):
            return item[0]

    Bool = Float = Integer = Num
