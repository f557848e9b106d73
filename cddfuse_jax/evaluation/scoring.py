"""Score folders of fused images beside their sources, several images at once over processes."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cddfuse_jax.console import progress
from cddfuse_jax.errors import InputError
from cddfuse_jax.images.colour import is_coloured
from cddfuse_jax.images.image_files import read_grey, read_image
from cddfuse_jax.images.levels import grey_8_bit
from cddfuse_jax.images.pairs import Pair, check_same_size, find_pairs, images_by_stem
from cddfuse_jax.metrics.baselines import BASELINES
from cddfuse_jax.metrics.protocols import PROTOCOLS

DEFAULT_BASELINES = ("max", "mean")


class Run(NamedTuple):
    """A method to score: its name and its folders of fused images, one per seed."""

    name: str
    folders: tuple[Path, ...]


class Scene(NamedTuple):
    """One scene that every folder has: its two sources and, per run, the fused file per seed."""

    pair: Pair
    fused: tuple[tuple[Path, ...], ...]


class Selection(NamedTuple):
    """Scenes to score, sorted by name, and per folder the files that others have no partner for."""

    scenes: list[Scene]
    leftovers: dict[str, list[str]]


class SceneScores(NamedTuple):
    """What became of one scene; with ``errors`` it has no scores and is in no mean.

    ``runs[run][seed]`` and ``baselines[name]`` are dictionaries from score to value;
    ``stretched[run]`` says whether every fused image of the run spans 0-255 exactly,
    ``coloured[run]`` whether any of them is in colour, so that only its luma was scored.
    """

    name: str
    runs: list[list[dict[str, float]]]
    baselines: dict[str, dict[str, float]]
    stretched: list[bool]
    coloured: list[bool]
    notes: list[str]
    errors: list[str]


def find_scenes(runs: list[Run], infrared: Path, visible: Path) -> Selection:
    """Find the scenes, by stem, that the two source folders and all folders of all runs have.

    Runs are compared on the same images only: what one run lacks is scored for none.

    Raises:
        InputError: a folder is missing, holds two images of one stem, or no scene is in all.
    """
    sources = find_pairs(infrared, visible)
    pairs = {pair.name: pair for pair in sources.pairs}
    fused = {folder: images_by_stem(folder) for run in runs for folder in run.folders}
    common = sorted(set(pairs).intersection(*fused.values()))
    of_folder = {
        infrared: [pair.infrared for pair in sources.pairs] + sources.only_infrared,
        visible: [pair.visible for pair in sources.pairs] + sources.only_visible,
    } | {folder: list(images.values()) for folder, images in fused.items()}
    if not common:
        counts = ", ".join(f"{folder}: {len(files)}" for folder, files in of_folder.items())
        raise InputError(
            f"images are matched by name without ending, and no name is in all folders ({counts} "
            "images); rename the fused images like their sources"
        )
    leftovers = {
        str(folder): sorted(file.name for file in files if file.stem not in common)
        for folder, files in of_folder.items()
    }
    scenes = [
        Scene(pairs[name], tuple(tuple(fused[folder][name] for folder in r.folders) for r in runs))
        for name in common
    ]
    return Selection(scenes, {folder: names for folder, names in leftovers.items() if names})


def score_scenes(
    scenes: list[Scene], protocol: str, baselines: tuple[str, ...], workers: int | None = None
) -> list[SceneScores]:
    """Score all scenes, in their order, with a progress bar.

    Args:
        scenes: what `find_scenes` found.
        protocol: a name in `PROTOCOLS`.
        baselines: names in `BASELINES`, scored on the same scenes.
        workers: processes; default: one per CPU that this process may use. 1 scores in this
            process. Others are spawned, since this process may hold threads (JAX) that a fork
            would break; a script that calls this needs ``if __name__ == "__main__":``.

    Raises:
        InputError: a worker was killed.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = max(1, min(workers or usable or 1, len(scenes)))
    bar = progress(None, "scoring", total=len(scenes), unit="image")
    with bar:
        if workers == 1:
            results = []
            for scene in scenes:
                results.append(score_scene(scene, protocol, baselines))
                bar.update()
            return results
        executor = concurrent.futures.ProcessPoolExecutor(
            workers, mp_context=multiprocessing.get_context("spawn")
        )
        try:
            with _interrupts_blocked():
                tasks = [executor.submit(score_scene, s, protocol, baselines) for s in scenes]
            for task in concurrent.futures.as_completed(tasks):
                task.result()
                bar.update()
            return [task.result() for task in tasks]
        except BrokenProcessPool:
            raise InputError(
                "a scoring process was killed, perhaps for lack of memory; give fewer --workers"
            ) from None
        finally:
            executor.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Start workers that Ctrl-C does not reach: this process ends them, without tracebacks.

    The signal mask is inherited; a Ctrl-C in the meantime arrives here when the block ends.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def score_scene(scene: Scene, protocol: str, baselines: tuple[str, ...]) -> SceneScores:
    """Score one scene's fused images and baselines; never raises `InputError`.

    Every file that cannot be read or does not fit becomes a line of ``errors``; a flat image, whose
    scores are defined but mean little, a line of ``notes``.
    """
    pair, scores = scene.pair, PROTOCOLS[protocol].scores
    result = SceneScores(pair.name, [], {}, [], [], [], [])

    def score(fused: np.ndarray) -> dict[str, float]:
        return {name: function(fused, infrared, visible) for name, function in scores.items()}

    try:
        infrared, visible = read_grey(pair.infrared), read_grey(pair.visible)
        check_same_size(pair, infrared, visible)
        for path, image in ((pair.infrared, infrared), (pair.visible, visible)):
            _note_flat(result.notes, path, image)
        for name in baselines:
            result.baselines[name] = score(BASELINES[name](infrared, visible))
    except InputError as error:
        result.errors.append(_naming(pair.name, error))
        return result
    for files in scene.fused:
        result.runs.append([])
        result.stretched.append(True)
        result.coloured.append(False)
        for path in files:
            try:
                stored = read_image(path)
                result.coloured[-1] |= bool(is_coloured(stored))
                fused = grey_8_bit(stored)
                check_same_size(pair._replace(infrared=path), fused, visible)
                _note_flat(result.notes, path, fused)
                result.runs[-1].append(score(fused))
                result.stretched[-1] &= bool(fused.min() == 0 and fused.max() == 255)
            except InputError as error:
                result.errors.append(_naming(pair.name, error))
    return result


def _note_flat(notes: list[str], path: Path, image: np.ndarray) -> None:
    if image.min() == image.max():
        notes.append(
            f"{path}: every pixel is {image.min()}; its scores are the values defined for a flat "
            "image (docs/scores.md), not NaN"
        )


def _naming(name: str, error: InputError) -> str:
    message = str(error)
    return message if name in message else f"{name}: {message}"
