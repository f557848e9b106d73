"""Broken inputs of every kind: the same seed gives the same input.

    python tests/fuzz/inputs.py --count 10000 [--kind pth] [--seed 0] [--out TALLY.json]

goes on for hours if told to. An input is survived if the program takes it or refuses it by an
`InputError` of one printable line; whatever else happens is told with kind and seed.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import h5py
import jax
import numpy as np
from PIL import Image

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from pth_writer import write_pth  # noqa: E402

from cddfuse_jax.config import load  # noqa: E402
from cddfuse_jax.config.fields import FIELDS  # noqa: E402
from cddfuse_jax.data.stored_pairs import H5Patches  # noqa: E402
from cddfuse_jax.errors import InputError, escaped  # noqa: E402
from cddfuse_jax.images.image_files import FORMATS, read_image, read_photo  # noqa: E402
from cddfuse_jax.models.cddfuse import CDDFuse  # noqa: E402
from cddfuse_jax.weights import torch_weights  # noqa: E402
from cddfuse_jax.weights.any_format import load_meta, load_params, save_params  # noqa: E402

VALUES = (
    "0",
    "-1",
    "1e400",
    "nan",
    "''",
    "None",
    "[1]",
    "{}",
    "1.5",
    "true",
    "\x1b[31m",
    "9" * 400,
)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Return bytes with a few changed, cut out, doubled, or cut off."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        place, length = rng.randrange(len(changed) or 1), rng.choice((1, 2, 4, 100))
        match rng.randrange(5):
            case 0 | 1:
                changed[place : place + 1] = bytes([rng.randrange(256)])
            case 2:
                changed[place : place + length] = rng.choice((b"\0", b"\xff", b"")) * length
            case 3:
                changed[place:place] = changed[place : place + length]
            case 4 if rng.random() < 0.2:
                del changed[place:]
    return bytes(changed)


@cache
def tiny_params():
    """Params of the smallest network."""
    model = CDDFuse(features=8, heads=2, blocks=1, coupling_layers=1)
    image = np.zeros((1, 8, 8, 1), np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image, image)["params"]
    return jax.tree.map(lambda leaf: np.full(leaf.shape, 0.1, np.float32), shapes)


@cache
def good(kind: str) -> bytes:
    """Return a file that is read, to be mutated."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file"
        if kind == "pth":
            write_pth(file, torch_weights.state_dicts(tiny_params()))
        elif kind == "safetensors":
            file = file.with_suffix(".safetensors")
            save_params(file, tiny_params(), {"config": {"residual": "none"}})
        elif kind == "hdf5":
            with h5py.File(file, "w") as opened:
                for group in ("vis_patchs", "ir_patchs"):
                    for number in range(3):
                        opened[f"{group}/{number}"] = np.zeros((1, 8, 8), np.float32)
        elif kind == "npy":
            with open(file, "wb") as opened:
                np.save(opened, np.zeros((8, 9, 3)))
        else:
            Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(file, kind)
        return file.read_bytes()


def image(folder: Path, rng: random.Random) -> None:
    """Read a mutated image, of a suffix that may be another format's."""
    kind = rng.choice((*FORMATS, "npy"))
    suffix = "npy" if kind == "npy" else rng.choice(("png", "jpg", "tif"))
    file = folder / f"image.{suffix}"
    file.write_bytes(mutated(good(kind), rng))
    read_photo(file)
    read_image(file)


def weights(folder: Path, rng: random.Random, kind: str) -> None:
    """Load a mutated file of weights."""
    file = folder / f"w.{kind}"
    file.write_bytes(mutated(good(kind), rng))
    load_params(file)
    load_meta(file)


def orbax(folder: Path, rng: random.Random) -> None:
    """Load a checkpoint one of whose files is mutated."""
    original = folder.parent / "good checkpoint"
    if not original.exists():
        save_params(original, tiny_params(), {"config": {"residual": "none"}})
    shutil.copytree(original, folder / "checkpoint")
    file = rng.choice(sorted(x for x in (folder / "checkpoint").rglob("*") if x.is_file()))
    file.write_bytes(mutated(file.read_bytes(), rng))
    load_params(folder / "checkpoint")
    load_meta(folder / "checkpoint")


def hdf5(folder: Path, rng: random.Random) -> None:
    """Read all of a mutated file of patches."""
    file = folder / "p.h5"
    file.write_bytes(mutated(good("hdf5"), rng))
    source = H5Patches(file)
    for number in range(len(source)):
        source[number]


def config(folder: Path, rng: random.Random) -> None:
    """Load a config with fields set to what they may not be."""
    del folder
    fields = rng.sample(sorted(name for name, field in FIELDS.items() if field.rule), 2)
    load("ivf", [f"--config.{field}={rng.choice(VALUES)}" for field in fields])


def name(folder: Path, rng: random.Random) -> None:
    """Read an image of a name that no shell would make."""
    letters = rng.choices("a\x1b[31m\n\r\t é%{}*'\" \udcff\u202e", k=rng.randrange(1, 30))
    file = folder / ("".join(letters) + ".png")
    content = good("PNG")
    file.write_bytes(content if rng.random() < 0.5 else mutated(content, rng))
    read_photo(file)


KINDS: dict[str, Callable[[Path, random.Random], None]] = {
    "image": image,
    "pth": lambda folder, rng: weights(folder, rng, "pth"),
    "safetensors": lambda folder, rng: weights(folder, rng, "safetensors"),
    "orbax": orbax,
    "hdf5": hdf5,
    "config": config,
    "name": name,
}


def attempt(kind: str, seed: int, folder: Path) -> tuple[str, str]:
    """Return what became of one input: "taken", "refused" or "FELL", and the words of it."""
    place = folder / f"{kind} {seed}"
    place.mkdir()
    try:
        KINDS[kind](place, random.Random(f"{kind} {seed}"))
    except InputError as error:
        line = str(error)
        shown = escaped(line) if kind == "name" else line  # escaped where it is printed
        return ("refused" if shown.isprintable() and len(shown) < 5000 else "FELL"), repr(line)
    except Exception as error:
        return "FELL", f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(place)
    return "taken", ""


def main() -> int:
    """Try, and print a tally; 1 if anything fell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="inputs of each kind")
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--out", type=Path, help="JSON file for the tally")
    given = parser.parse_args()
    tally = {}
    for kind in [given.kind] if given.kind else KINDS:
        rows, started = {"taken": 0, "refused": 0, "FELL": 0}, time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            for seed in range(given.seed, given.seed + given.count):
                outcome, words = attempt(kind, seed, Path(folder))
                rows[outcome] += 1
                if outcome == "FELL":
                    print(f"{kind}, seed {seed}: {words[:300]}", flush=True)
        tally[kind] = rows | {"seconds": round(time.perf_counter() - started, 1)}
        print(kind, tally[kind], flush=True)
    if given.out:
        given.out.write_text(
            json.dumps({"first seed": given.seed, "kinds": tally}, indent=1) + "\n"
        )
    return int(any(rows["FELL"] for rows in tally.values()))


if __name__ == "__main__":
    sys.exit(main())
