"""TIFFs as tifffile writes them: what is read is the array that was written, or is refused by name.

    python tests/fuzz/tiffs.py [--count 500] [--seed 0]

tries all combinations of types, byte orders, compressions, layouts and orientations, or as many of
them, and prints a tally.
"""

import argparse
import collections
import itertools
import random
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile

from cddfuse_jax.errors import InputError
from cddfuse_jax.images.image_files import read_photo, read_size

INTEGERS = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
TYPES = (*INTEGERS, "float16", "float32", "float64", "complex64")
COMPRESSIONS = (None, "deflate", "lzw", "packbits", "zstd", "lzma", "predictor")
HEIGHT, WIDTH = 16, 32  # of whole tiles


class Layout(NamedTuple):
    """How bands lie: their number, tifffile's options, and how many are read; 0 if refused."""

    bands: int
    options: dict
    read: int


RGB, GREY, WHITE = ({"photometric": name} for name in ("rgb", "minisblack", "miniswhite"))
PLANES = {"planarconfig": "separate"}
LAYOUTS = {
    "grey": Layout(1, GREY, 1),
    "white is zero": Layout(1, WHITE, 1),
    "grey in tiles": Layout(1, GREY | {"tile": (16, 16)}, 1),
    "grey in strips": Layout(1, GREY | {"rowsperstrip": 3}, 1),
    "grey and alpha": Layout(2, GREY | {"extrasamples": ["unassalpha"]}, 1),
    "grey and alpha in planes": Layout(2, GREY | PLANES | {"extrasamples": ["unassalpha"]}, 1),
    "two bands": Layout(2, GREY | PLANES, 0),
    "three bands": Layout(3, GREY | {"planarconfig": "contig"}, 3),
    "five bands": Layout(5, GREY | PLANES, 0),
    "RGB": Layout(3, RGB, 3),
    "RGB in planes": Layout(3, RGB | PLANES, 3),
    "RGB in planes and tiles": Layout(3, RGB | PLANES | {"tile": (16, 16)}, 3),
    "RGBA": Layout(4, RGB | {"extrasamples": ["unassalpha"]}, 3),
    "RGBA in planes": Layout(4, RGB | PLANES | {"extrasamples": ["unassalpha"]}, 3),
    "RGB and a band": Layout(4, RGB | {"extrasamples": ["unspecified"]}, 3),
    "RGB and two bands": Layout(5, RGB | PLANES | {"extrasamples": ["unspecified"] * 2}, 3),
}
UPRIGHT = {  # by the TIFF standard: where the first row and the first column are seen
    1: lambda x: x,
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x, 2).swapaxes(0, 1),
    8: lambda x: np.rot90(x, 1),
}
ALL = list(itertools.product(TYPES, "<>", COMPRESSIONS, LAYOUTS, UPRIGHT))


def array(dtype: str, bands: int) -> np.ndarray:
    """Return an image HxWxC with values over all of a type's range."""
    rng = np.random.default_rng(7)
    shape = (HEIGHT, WIDTH, bands)
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if np.dtype(dtype).kind in "fc":
        return (1000 * rng.standard_normal(shape)).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def expected(written: np.ndarray, layout: str, orientation: int) -> np.ndarray:
    """Return what is to be read of an array."""
    read = LAYOUTS[layout].read
    pixels = written[..., 0] if read == 1 else written[..., :3]
    if pixels.dtype == bool:
        pixels = np.uint8(255) * pixels
    if layout == "white is zero":
        pixels = -pixels if pixels.dtype.kind == "f" else ~pixels  # of all of a type's bits
    return UPRIGHT[orientation](pixels)


def attempt(combination: tuple, folder: Path) -> tuple[str, str]:
    """Return what became of one combination: "right", "refused", "unwritable" or "WRONG", and why.

    tifffile cannot write some of them, such as a predictor for integers of one bit.
    """
    dtype, order, compression, name, orientation = combination
    layout, written, file = LAYOUTS[name], array(dtype, LAYOUTS[name].bands), folder / "a.tif"
    packed = compression if compression != "predictor" else "deflate"
    data = np.moveaxis(written, -1, 0) if "planarconfig" in layout.options else written
    if layout.options.get("planarconfig") == "contig":
        data = written
    try:
        tifffile.imwrite(
            file, data[..., 0] if layout.bands == 1 else data, byteorder=order,
            compression=packed, predictor=compression == "predictor",
            extratags=[(274, "H", 1, orientation, True)], **layout.options,
        )  # fmt: skip
    except (ValueError, TypeError, NotImplementedError) as error:
        return "unwritable", str(error)
    try:
        photo, size = read_photo(file), read_size(file)
    except InputError as error:
        named = dtype in str(error) and f"{layout.bands} band" in str(error)
        interleaved = layout.bands > 1 and layout.options.get("planarconfig") != "separate"
        meant = not layout.read or dtype == "complex64" or (dtype == "bool" and interleaved)
        return ("refused" if named and meant else "WRONG"), str(error)
    except Exception as error:
        return "WRONG", f"{type(error).__name__}: {error}"
    if not layout.read:
        return "WRONG", "was read"
    right = expected(written, name, orientation)
    if photo.pixels.dtype != right.dtype or not np.array_equal(photo.pixels, right):
        return (
            "WRONG",
            f"{photo.pixels.dtype} {photo.pixels.shape}, not {right.dtype} {right.shape}",
        )
    return ("right", "") if size == right.shape[:2] else ("WRONG", f"size {size}")


def main() -> int:
    """Try, and print a tally; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=len(ALL), help="how many; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of the order in which they come")
    given = parser.parse_args()
    tally: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for combination in random.Random(given.seed).sample(ALL, min(given.count, len(ALL))):
            outcome, words = attempt(combination, Path(folder))
            tally[outcome] += 1
            if outcome == "WRONG":
                print(combination, words[:300], flush=True)
    print(dict(tally))
    return int(tally["WRONG"] > 0)


if __name__ == "__main__":
    sys.exit(main())
