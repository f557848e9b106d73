"""How near `register` comes, on rigs whose geometry is known: made of real pairs.

    python experiments/measure_rigs.py --data DIR --out FILE.json [--rigs 40]

DIR holds TNO/{vi,ir} and RoadScene/{vi,ir}. Each rig takes the middles of some of their pairs as a
400x300 visible image, and an infrared one that covers 0.4 to 1.2 of its width, is turned by up to 5
degrees, shifted by up to 10 % of the width, has a half, a third or a quarter of the resolution,
noise of up to 4 % and, on every fifth rig, inverted brightness. Of rigs for ``affine`` it is also
stretched by up to 5 %.

The pairs themselves are off by some pixels. So a rig is held against two geometries: the one that
it was made with, and that one after what `register` measures on the same pairs before they are cut.
"""

import json
import math
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import affine_transform, gaussian_filter

from cddfuse_jax.console import ArgumentParser, progress, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import replacing
from cddfuse_jax.pairs.find import find_pairs
from cddfuse_jax.rigs.rig import Rig, rig_of
from cddfuse_jax.rigs.search import measure_rig

WIDTH, HEIGHT = 400, 300
LEAST_SIDE = 240  # of a source pair
NEAR, WRONG = 1.5, 5.0  # mean over the corners, in visible pixels


def frames(root: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the middles of all pairs that are large enough, HxW in [0, 1]."""
    found = []
    for name in ("TNO", "RoadScene"):
        for pair in find_pairs(root / name / "vi", root / name / "ir").pairs:
            images = [Image.open(path).convert("L") for path in pair[1:]]
            if min(images[0].size) >= LEAST_SIDE:
                found.append((_middle(images[0]), _middle(images[1])))
    return found


def _middle(image: Image.Image) -> np.ndarray:
    zoom = min(image.width / WIDTH, image.height / HEIGHT)
    left, top = max(0, (image.width - zoom * WIDTH) / 2), max(0, (image.height - zoom * HEIGHT) / 2)
    box = (left, top, image.width - left, image.height - top)
    middle = image.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box)
    return np.asarray(middle, np.float32) / 255


def make_rig(random: np.random.Generator, affine: bool) -> tuple[Rig, float, dict]:
    """Draw a rig; return it, how far its visible camera is zoomed in, and the infrared faults."""
    covered = math.exp(random.uniform(math.log(0.4), math.log(1.2)))
    angle, shift = math.radians(random.uniform(-5, 5)), random.uniform(-0.1, 0.1, 2) * WIDTH
    reduced = int(random.choice([2, 3, 4]))
    infrared = round(HEIGHT / reduced), round(WIDTH / reduced)
    stretch = random.uniform(0.95, 1.05) if affine else 1.0
    scale = covered * WIDTH / infrared[1]
    rig = rig_of(scale, angle, shift, (HEIGHT, WIDTH), infrared, stretch)
    reach = np.abs(rig.corners() - [(WIDTH - 1) / 2, (HEIGHT - 1) / 2]).max(0)
    zoom = float(min(1.0, *(np.array([WIDTH, HEIGHT]) / 2 / reach)))
    faults = {"noise": random.uniform(0, 0.04), "inverted": random.random() < 0.2}
    return rig, zoom, faults


def take(rig: Rig, zoom: float, faults: dict, pair, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what the rig's cameras see of a pair."""
    middle = (np.array(rig.visible) - 1) / 2
    visible, infrared = pair
    if zoom < 1:
        visible = affine_transform(visible, np.full(2, zoom), middle * (1 - zoom), order=1)
    inverse = np.linalg.inv(rig.matrix[:2, :2])
    linear = zoom * inverse[::-1, ::-1]
    start = middle * (1 - zoom) - linear @ rig.matrix[1::-1, 2]
    smooth = gaussian_filter(infrared, 0.5 * zoom * rig.scale)
    seen = affine_transform(smooth, linear, start, rig.infrared, order=1, mode="nearest")
    seen = 1 - seen if faults["inverted"] else seen
    seen = seen + np.random.default_rng(seed).normal(0, faults["noise"], seen.shape)
    return _in_8_bit(visible), _in_8_bit(np.clip(seen, 0, 1))


def _in_8_bit(image: np.ndarray) -> np.ndarray:
    return np.rint(image * 255).astype(np.float32) / np.float32(255)


def corrected(rig: Rig, zoom: float, own: Rig) -> Rig:
    """Return a rig's geometry where the source pairs are off by ``own``."""
    middle = (np.array(rig.visible[::-1]) - 1) / 2
    # A visible pixel to the source's, by what is measured to the infrared source's, and to the rig.
    right, down = middle * (1 - zoom)
    zoomed = np.array([[zoom, 0, right], [0, zoom, down], [0, 0, 1]])
    matrix = rig.matrix @ np.linalg.inv(zoomed) @ own.matrix @ zoomed
    return Rig(matrix, rig.visible, rig.infrared)


def off(rig: Rig, truth: Rig) -> float:
    """Return the mean distance of the infrared image's corners, in visible pixels."""
    return float(np.linalg.norm(rig.corners() - truth.corners(), axis=1).mean())


def measure(sources, pairs: int, rigs: int, affine: bool) -> dict:
    """Measure some rigs from so many pairs each."""
    made, after, seconds, refused = [], [], [], 0
    for seed in progress(range(rigs), f"{pairs} pairs", unit="rig"):
        random = np.random.default_rng(seed)
        rig, zoom, faults = make_rig(random, affine)
        chosen = [sources[k] for k in random.choice(len(sources), pairs, replace=False)]
        taken = [take(rig, zoom, faults, pair, k) for k, pair in enumerate(chosen)]
        start = time.perf_counter()
        try:
            found = measure_rig(taken, affine).rig
        except InputError:
            refused += 1
            continue
        finally:
            seconds.append(time.perf_counter() - start)
        made.append(off(found, rig))
        after.append(off(found, corrected(rig, zoom, measure_rig(chosen, affine).rig)))
    result: dict = {
        "rigs": rigs,
        "refused": refused,
        "seconds": round(float(np.median(seconds)), 1),
    }
    for name, errors in (("as made", made), ("after the pairs' own", after)):
        result[name] = {
            "median": round(float(np.median(errors)), 2),
            f"within {NEAR}": sum(error <= NEAR for error in errors),
            f"beyond {WRONG}": sum(error > WRONG for error in errors),
            "errors": [round(error, 2) for error in errors],
        }
    return result


def main() -> None:
    """Measure rigs from 4, 8 and 16 pairs, and affine ones from 8."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path, metavar="DIR")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE")
    parser.add_argument(
        "--rigs",
        type=int,
        default=40,
        help="from 8 pairs, and half as many of the other kinds; default: %(default)s",
    )
    given = parser.parse_args()
    sources = frames(given.data)
    some = max(1, given.rigs // 2)
    kinds = (8, False, given.rigs), (4, False, some), (16, False, some), (8, True, some)
    results = {
        f"{pairs} pairs{', affine' * affine}": measure(sources, pairs, rigs, affine)
        for pairs, affine, rigs in kinds
    }
    with replacing(given.out) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n")
    for name, result in results.items():
        print(f"{name}: {result}")


if __name__ == "__main__":
    run(main)
