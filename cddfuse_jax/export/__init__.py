"""The network in one file: StableHLO or ONNX."""

from typing import Literal

Type = Literal["float32", "float16"]
TYPES: tuple[Type, ...] = ("float32", "float16")  # of an ONNX file's weights and features
