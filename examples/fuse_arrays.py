"""Fuse arrays from Python; runs without any download.

    python examples/fuse_arrays.py [OUT.png] [WEIGHTS]

A synthetic scene is fused with the weights that come with the package, or with those named.
"""

import sys

import numpy as np
from PIL import Image

from cddfuse_jax import Fuser
from cddfuse_jax.data.synthetic import synthetic_pair


def main(out=None, weights="ivf"):
    """Fuse one pair in colour and a batch of two; return both."""
    fuser = Fuser(weights)

    # Any uint8 or float arrays will do; here a synthetic scene, its visible image tinted.
    visible, infrared = synthetic_pair(seed=1, height=96, width=128)
    visible = np.rint(255 * visible[..., None] * [1.0, 0.8, 0.6]).astype(np.uint8)
    infrared = np.rint(255 * infrared).astype(np.uint8)

    fused = fuser(visible, infrared)  # 96x128x3, uint8
    both = fuser(np.stack([visible, visible]), np.stack([infrared, infrared[:, ::-1]]))
    print(f"{visible.shape} + {infrared.shape} -> {fused.shape} {fused.dtype}")
    if out:
        Image.fromarray(fused).save(out)
    return fused, both


if __name__ == "__main__":
    main(*sys.argv[1:])
