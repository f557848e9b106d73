"""How often pairs are called misregistered: on real pairs, and on pairs shifted on purpose.

    python experiments/measure_registration.py --data DIR --out FILE.json

DIR holds TNO/{vi,ir}, RoadScene/{vi,ir} and so on; sets that are not there are left out. Each pair
is measured as it is, and again with its infrared image moved by 8, 12 and 24 pixels in a direction
that differs from pair to pair. What is moved in is the mirrored border, so that no edge is made.
"""

import json
import math
import time
from pathlib import Path

import numpy as np

from cddfuse_jax.console import ArgumentParser, progress, run
from cddfuse_jax.files import replacing
from cddfuse_jax.images.levels import network_input
from cddfuse_jax.pairs.find import find_pairs
from cddfuse_jax.pairs.read import read_pair
from cddfuse_jax.rigs.shift import measure_shift

SETS = {
    "misregistered": ("vi", "ir"),
    "TNO": ("vi", "ir"),
    "RoadScene": ("vi", "ir"),
    "RoadScene_train": ("vi", "ir"),
    "MRI_CT": ("MRI", "CT"),
    "MRI_PET": ("MRI", "PET"),
}
LENGTHS = (8, 12, 24)


def moved(image: np.ndarray, right: int, down: int) -> np.ndarray:
    """Move an image's content; what comes in at the border is its mirror image."""
    margin = max(abs(right), abs(down))
    height, width = image.shape
    padded = np.pad(image, margin, mode="symmetric")
    return padded[margin - down :, margin - right :][:height, :width]


def measure(root: Path, sides: tuple[str, str]) -> dict:
    """Measure one set."""
    as_is, seconds = [], []
    found, right_shift = dict.fromkeys(LENGTHS, 0), dict.fromkeys(LENGTHS, 0)
    pairs = find_pairs(root / sides[0], root / sides[1]).pairs
    for number, pair in enumerate(progress(pairs, root.name, unit="pair")):
        visible, infrared = (network_input(photo.pixels) for photo in read_pair(pair))
        start = time.perf_counter()
        shift = measure_shift(visible, infrared)
        seconds.append(time.perf_counter() - start)
        if shift and shift.is_misregistered:
            as_is.append(f"{pair.name}: {shift.right} right, {shift.down} down")
        for length in LENGTHS if shift else ():
            angle = 2.4 * number
            right, down = (round(length * f(angle)) for f in (math.cos, math.sin))
            again = measure_shift(visible, moved(infrared, right, down))
            found[length] += again.is_misregistered
            own = (0, 0) if math.hypot(shift.right, shift.down) > 30 else (shift.right, shift.down)
            error = math.hypot(again.right - right - own[0], again.down - down - own[1])
            right_shift[length] += again.is_misregistered and error <= 3
    return {
        "pairs": len(pairs),
        "called misregistered as they are": as_is,
        "called misregistered when moved by": found,
        "of these, measured within 3 pixels": right_shift,
        "median seconds per pair": round(float(np.median(seconds)), 3),
    }


def main() -> None:
    """Measure every set that is there."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path, metavar="DIR")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE")
    given = parser.parse_args()
    results = {
        name: measure(given.data / name, sides)
        for name, sides in SETS.items()
        if (given.data / name).is_dir()
    }
    with replacing(given.out) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    run(main)
