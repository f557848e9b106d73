"""Measure what smoothing the stretch over time is worth in a fused video, by `metrics.flicker`.

    python experiments/flicker.py DATA/RoadScene

The first ten pairs make a video each: a window of 192x128 moves to the right, 2 pixels a frame, 50
frames at 25 per second. Prints means over the videos; experiments/results/flicker.json keeps them.
"""

import argparse
import json
from fractions import Fraction
from pathlib import Path

import numpy as np

from cddfuse_jax import Fuser, metrics
from cddfuse_jax.fusing.video import SmoothedRange
from cddfuse_jax.images import levels
from cddfuse_jax.metrics.flicker import Flicker
from cddfuse_jax.pairs.find import find_pairs
from cddfuse_jax.pairs.read import read_pair

FRAMES, STEP, HEIGHT, WIDTH = 50, 2, 128, 192


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    fuser, found = Fuser("small", color="none"), []
    for pair in find_pairs(folder / "vi", folder / "ir").pairs[:10]:
        images = [photo.pixels for photo in read_pair(pair)]
        windows = [np.s_[40 : 40 + HEIGHT, x : x + WIDTH] for x in range(0, FRAMES * STEP, STEP)]
        sources = [tuple(image[window] for image in images) for window in windows]
        lumas = [fuser.luma(*frames) for frames in sources]
        smooth = SmoothedRange(Fraction(25))
        ranges = {
            "none": [(0.0, 1.0)] * FRAMES,
            "of the video": [(min(x.min() for x in lumas), max(x.max() for x in lumas))] * FRAMES,
            "of each frame": [None] * FRAMES,
            "smoothed": [smooth.update(float(x.min()), float(x.max())) for x in lumas],
        }
        for stretch, limits in ranges.items():
            fused = [
                levels.to_8_bit(fuser.finished(luma, *frames, limit))
                for luma, frames, limit in zip(lumas, sources, limits, strict=True)
            ]
            found.append((stretch, metrics.flicker(fused, *zip(*sources, strict=True))))
    means = {
        name: np.mean([f for n, f in found if n == name], axis=0).round(3).tolist()
        for name in ranges
    }
    print(json.dumps({"columns": Flicker._fields, "stretch": means}, indent=2))


if __name__ == "__main__":
    main()
