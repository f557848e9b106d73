"""One visitor's pair, from two files to a fused one, its pictures and its scores."""

import copy
import functools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.errors import InputError
from cddfuse_jax.evaluation.matching import Scene
from cddfuse_jax.evaluation.scoring import score_scene
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.fusing.jobs import Job, Treatment
from cddfuse_jax.fusing.memory import memory_for_strips
from cddfuse_jax.fusing.pair_files import Outcome, fuse_file
from cddfuse_jax.images import levels
from cddfuse_jax.images.colour import Color
from cddfuse_jax.images.image_files import read_photo, read_size, write_png
from cddfuse_jax.images.output_files import FORMATS
from cddfuse_jax.metrics.protocols import PAPER_SCORES
from cddfuse_jax.models import Residual
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.pairs.find import Pair
from cddfuse_jax.pairs.read import Resize
from cddfuse_jax.training.decomposing import decompose
from cddfuse_jax.training.feature_pictures import labelled_grid
from cddfuse_jax.weights.any_format import load_params

BASELINES = ("max", "mean")
PROTOCOL = "release"
MOST_MAP_PIXELS = 500_000  # features of whole images are held for the maps
Stored = Literal["png", "png16"]
STORED: tuple[Stored, ...] = get_args(Stored)
Scores = dict[str, dict[str, float]]  # by row, then by score


class Options(NamedTuple):
    """What a visitor chooses; the options of ``python -m cddfuse_jax.fuse`` with these names.

    ``residual`` is None for the weights' own; ``strips`` computes in strips whatever is free.
    """

    weights: str
    residual: Residual | None = None
    color: Color = "auto"
    stretch: bool = True
    strips: bool = False
    resize: Resize | None = None
    align: bool = False
    stored: Stored = "png"


class Answer(NamedTuple):
    """What the page shows; None for what is still being made.

    ``fused`` is the file to download, ``shown`` are 8-bit pictures of both sources and the fused
    image, ``scores`` are those of the fused image and of fusion without a network, ``lines`` are
    of plain text.
    """

    fused: Path
    shown: tuple[Path, Path, Path]
    lines: list[str]
    scores: Scores | None = None
    maps: Path | None = None


def answers(
    visible: Path, infrared: Path, options: Options, folder: Path, most_pixels: int
) -> Iterator[Answer]:
    """Fuse two files into ``folder``: the image first, then its scores, then its feature maps.

    Raises:
        InputError: a file cannot be read, is larger than ``most_pixels``, or the two do not fit.
    """
    for path in (visible, infrared):
        check_pixels(path, most_pixels)
    fuser = _fuser(options, *read_size(visible))
    stem = f"{visible.stem}_fused"
    file = folder / f"{stem}{FORMATS[options.stored].suffix}"
    pair = Pair(stem, visible, infrared)
    treatment = Treatment(options.resize, options.align, FORMATS[options.stored])
    clock = time.perf_counter()
    outcome = fuse_file(fuser, Job(pair, file), treatment)
    lines = _lines(fuser, outcome, time.perf_counter() - clock)
    shown = (
        _picture(visible, folder / "visible.png"),
        _picture(infrared, folder / "infrared.png"),
        _picture(file, folder / "fused.png"),
    )
    answer = Answer(file, shown, lines)
    yield answer

    scored = score_scene(Scene(pair, ((file,),)), PROTOCOL, BASELINES, PAPER_SCORES)
    fused = {"fused": scored.runs[0][0]} if scored.runs and scored.runs[0] else {}
    lines = lines + [f"no scores: {error}" for error in scored.errors]
    answer = answer._replace(scores=fused | scored.baselines, lines=lines)
    yield answer

    if outcome.size is None or np.prod(outcome.size) > MOST_MAP_PIXELS or options.strips:
        reason = (
            f"no maps: they are made up to {MOST_MAP_PIXELS / 1e6:g} megapixels, without strips"
        )
        yield answer._replace(lines=[*lines, reason])
    elif outcome.size == read_size(visible) == read_size(infrared):
        maps = _maps(visible, infrared, options.weights, fuser.residual, folder / "maps.png")
        yield answer._replace(maps=maps)


def check_pixels(path: Path, most: int) -> None:
    """Refuse an image of more pixels than that, by its header alone."""
    height, width = read_size(path)
    if height * width > most:
        raise InputError(
            f"{path.name}: images may have {most / 1e6:g} megapixels here, got "
            f"{width}x{height}; make it smaller, or fuse it with the command"
        )


def draw_pair(seed: int, folder: Path, height: int = 240, width: int = 320) -> tuple[Path, Path]:
    """Write a synthetic pair of a seed; return visible and infrared."""
    paths = folder / f"scene{seed}_visible.png", folder / f"scene{seed}_infrared.png"
    for path, image in zip(paths, synthetic_pair(seed, height, width), strict=True):
        write_png(path, levels.to_8_bit(image))
    return paths


@functools.lru_cache(maxsize=4)  # compiled sizes stay with a fuser
def _of(weights: str, residual: Residual | None, memory: int | None) -> Fuser:
    return Fuser(weights, residual, max_memory=memory)


@functools.lru_cache(maxsize=4)
def _params(weights: str) -> dict:
    return load_params(weights)


def _fuser(options: Options, height: int, width: int) -> Fuser:
    memory = None
    if options.strips:
        features = CDDFuse.from_params(_params(options.weights)).features
        memory = memory_for_strips(height, width, features)
    fuser = copy.copy(_of(options.weights, options.residual, memory))
    fuser.color, fuser.stretch = options.color, options.stretch
    return fuser


def _lines(fuser: Fuser, outcome: Outcome, seconds: float) -> list[str]:
    height, width = outcome.size or (0, 0)
    lines = [
        f"{width}x{height}, fused in {seconds:.1f} s (the first of a size compiles), "
        f"weights {fuser.weights}, residual {fuser.residual}"
    ]
    if outcome.warning:
        lines.append(f"warning: {outcome.warning}")
    return lines + [f"note: {note} ({name})" for note, name in outcome.notes.items()]


def shown_pixels(path: Path) -> np.ndarray:
    """Return what a browser can show of an image file: uint8, HxW or HxWx3."""
    pixels = read_photo(path).pixels
    return pixels if pixels.dtype == np.uint8 else levels.to_8_bit(levels.intensities(pixels))


def _picture(path: Path, out: Path) -> Path:
    write_png(out, shown_pixels(path))
    return out


def _maps(visible: Path, infrared: Path, weights: str, residual: Residual, out: Path) -> Path:
    params = _params(weights)
    inputs = [levels.network_input(read_photo(path).pixels) for path in (visible, infrared)]
    parts = decompose(CDDFuse.from_params(params), params, inputs[0], inputs[1], residual)
    write_png(out, labelled_grid(parts, f"{weights}, {residual}"))
    return out
