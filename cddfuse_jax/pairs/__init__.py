"""Pairs of files: found by name, by which rule, and read."""

from typing import Literal

Resize = Literal["visible", "infrared"]  # which image is resampled to the size of the other
RESIZES: tuple[Resize, ...] = ("visible", "infrared")
