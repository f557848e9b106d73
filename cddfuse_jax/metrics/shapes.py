"""Arrays in signatures, as jaxtyping writes them.

Scores are ready in 0.2 s, of which importing jaxtyping would be a fourth: it is left to whoever
checks signatures, and has done so before. All others find the shapes noted beside the types.
"""

import sys
from typing import TYPE_CHECKING, Annotated

import numpy as np

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool as Bool
    from jaxtyping import Float as Float
    from jaxtyping import Integer as Integer
    from jaxtyping import Num as Num
else:

    class Float:
        """An array's type and, as a note, its shape."""

        def __class_getitem__(cls, type_and_shape):
            return Annotated[type_and_shape]

    Bool = Integer = Num = Float

# One number per pixel: in scores grey values, 0-255.
Plane = Float[np.ndarray, "h w"]
