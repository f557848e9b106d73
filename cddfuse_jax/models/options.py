"""What one may choose of the network, by name; apart from it, so that help needs no JAX."""

from typing import Literal

Residual = Literal["visible", "sum", "none"]
RESIDUALS: tuple[Residual, ...] = ("visible", "sum", "none")
Precision = Literal["bf16", "float32", "highest"]
PRECISIONS: tuple[Precision, ...] = ("bf16", "float32", "highest")
