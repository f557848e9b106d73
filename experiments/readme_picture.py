"""Draw the README's picture: procedural pairs, which nobody owns, and what weights make of them.

    python experiments/readme_picture.py --weights runs/quickstart --out docs/images/fusion.png

Three columns: visible, infrared, fused; a row for each seed.
"""

from pathlib import Path

import numpy as np

from cddfuse_jax.console import ArgumentParser, run
from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.images.image_files import write_png
from cddfuse_jax.training.feature_pictures import GAP

SEEDS, HEIGHT, WIDTH = (0, 1), 216, 288


def main() -> None:
    """Read the arguments and draw."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True)
    parser.add_argument("--out", required=True, type=Path)
    given = parser.parse_args()
    fuse = Fuser(given.weights)
    rows = []
    for seed in SEEDS:
        pair = [
            np.rint(255 * image).astype(np.uint8) for image in synthetic_pair(seed, HEIGHT, WIDTH)
        ]
        panels = [*pair, fuse(*pair)]
        rows.append(
            np.hstack([np.pad(p, ((0, GAP), (0, GAP)), constant_values=255) for p in panels])
        )
    write_png(given.out, np.vstack(rows)[:-GAP, :-GAP])


if __name__ == "__main__":
    run(main)
