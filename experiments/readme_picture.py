"""Draw the README's picture: synthetic pairs, which nobody owns, and what weights make of them.

    python experiments/readme_picture.py --weights ivf --out docs/images/fusion.png

Five columns: visible, infrared, fused, and the fused base and detail features (mean over channels,
stretched from percentile 1 to 99); a row for each seed.
"""

from pathlib import Path

import numpy as np

from cddfuse_jax import CDDFuse, Fuser, load_params
from cddfuse_jax.console import ArgumentParser, run
from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.images.image_files import write_png
from cddfuse_jax.training.decomposing import decompose
from cddfuse_jax.training.feature_pictures import GAP, stretch

SEEDS, HEIGHT, WIDTH = (0, 1), 216, 288


def main() -> None:
    """Read the arguments and draw."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True)
    parser.add_argument("--out", required=True, type=Path)
    given = parser.parse_args()
    fuse, params = Fuser(given.weights), load_params(given.weights)
    model, rows = CDDFuse.from_params(params), []
    for seed in SEEDS:
        pair = synthetic_pair(seed, HEIGHT, WIDTH)
        parts = decompose(model, params, *pair, fuse.residual)
        panels = [*pair, fuse(*pair), stretch(parts.base[2]), stretch(parts.detail[2])]
        framed = [np.pad(panel, ((0, GAP), (0, GAP)), constant_values=1) for panel in panels]
        rows.append(np.hstack(framed))
    write_png(given.out, np.rint(255 * np.vstack(rows)[:-GAP, :-GAP]).astype(np.uint8))


if __name__ == "__main__":
    run(main)
