"""What the network takes as an array: one of JAX, traced or not, or one of NumPy."""

import jax
import numpy as np

AnyArray = jax.Array | np.ndarray
