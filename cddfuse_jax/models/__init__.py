"""The network, as Linen modules. Names of its options are here, so that help needs no JAX.

`cddfuse` is the network itself; `restormer`, `base` and `detail` are its blocks, one a file.
"""

from typing import Literal

Residual = Literal["visible", "sum", "none"]
RESIDUALS: tuple[Residual, ...] = ("visible", "sum", "none")
Precision = Literal["bf16", "float32", "highest"]
PRECISIONS: tuple[Precision, ...] = ("bf16", "float32", "highest")
