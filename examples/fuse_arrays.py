"""Fuse arrays from Python; runs without any download.

    python examples/fuse_arrays.py [WEIGHTS] [OUT.png]

Without WEIGHTS a small network with random weights is used: the result then shows that everything
runs, not what CDDFuse can do.
"""

import sys

import jax
import numpy as np
from PIL import Image

from cddfuse_jax import Fuser
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.scenes.pairs import synthetic_pair


def random_weights():
    """Draw params of a small network."""
    model = CDDFuse(features=8, heads=2, blocks=1, coupling_layers=1)
    image = np.zeros((1, 8, 8, 1), np.float32)
    return jax.jit(model.init)(jax.random.key(0), image, image)["params"]


def main(weights=None, out=None):
    """Fuse one pair in colour and a batch of two; return both."""
    fuser = Fuser(weights or random_weights())

    # Any uint8 or float arrays will do; here a drawn scene, its visible image tinted.
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
