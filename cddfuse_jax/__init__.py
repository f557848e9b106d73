"""CDDFuse (CVPR 2023) in JAX and Flax: fusion of infrared and visible, or of two medical images."""

__version__ = "0.1.0"
