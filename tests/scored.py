"""Folders of fused images and their sources, and the command that scores them."""

import csv
import json
from pathlib import Path

import numpy as np
from programs import ends

from cddfuse_jax.evaluate import main
from cddfuse_jax.images.image_files import write_png

NAMES = ("a", "b", "c")


def noise(seed: int, height=44, width=46) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 250, (height, width), dtype=np.uint8)


def write_folders(root: Path) -> Path:
    """Write three scenes and two runs: f0 is infrared with noise, f1 visible with noise."""
    for seed, name in enumerate(NAMES):
        infrared, visible = noise(seed), noise(seed + 10)
        write_png(root / "ir" / f"{name}.png", infrared)
        write_png(root / "vi" / f"{name}.png", visible)
        write_png(root / "f0" / f"{name}.png", infrared // 2 + noise(seed + 20) // 4)
        write_png(root / "f1" / f"{name}.png", visible // 2 + noise(seed + 20) // 4)
    return root


def run_command(folders: Path, *more: str, fused: str | None = None) -> int:
    arguments = ["--fused", fused or str(folders / "f0"), "--workers", "1"]
    for option, name in (("--ir", "ir"), ("--vi", "vi"), ("--out", "out")):
        arguments += [option, str(folders / name)]
    return ends(main, *arguments, *more)


def csv_rows(folders: Path) -> list[dict[str, str]]:
    with open(folders / "out" / "scores.csv", newline="") as file:
        return list(csv.DictReader(file))


def summary(folders: Path) -> dict:
    return json.loads((folders / "out" / "summary.json").read_text())
