"""Score folders of fused images against their sources, several images at once over processes."""

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
from cddfuse_jax.evaluation.matching import Scene
from cddfuse_jax.images import levels
from cddfuse_jax.images.colour import is_coloured
from cddfuse_jax.images.image_files import naming, read_photo
from cddfuse_jax.images.photo import Photo
from cddfuse_jax.metrics.arrays import planes
from cddfuse_jax.metrics.baselines import BASELINES
from cddfuse_jax.metrics.compute import score_planes
from cddfuse_jax.metrics.protocols import PROTOCOLS
from cddfuse_jax.pairs.matches import Matches
from cddfuse_jax.pairs.read import read_pair
from cddfuse_jax.rigs.rig import Rig

LARGEST_CROP = 1  # pixels by which sizes may differ


class SceneScores(NamedTuple):
    """What became of one scene; with ``errors`` it has no scores and is in no mean.

    ``runs[run][seed]`` and ``baselines[name]`` are dictionaries from score to value;
    ``stretched[run]`` says whether every fused image of the run spans 0-255 exactly,
    ``coloured[run]`` whether any of them is in colour; ``notes`` are pairs of a note and the file
    that it is about.
    """

    name: str
    runs: list[list[dict[str, float]]]
    baselines: dict[str, dict[str, float]]
    stretched: list[bool]
    coloured: list[bool]
    notes: list[tuple[str, str]]
    errors: list[str]


def score_scenes(
    scenes: list[Scene],
    protocol: str,
    baselines: tuple[str, ...],
    workers: int | None = None,
    names: tuple[str, ...] | None = None,
    rig: Rig | Matches | None = None,
) -> list[SceneScores]:
    """Score all scenes, in their order, with a progress bar.

    ``protocol`` and ``baselines`` are names in `PROTOCOLS` and `BASELINES`, ``names`` the scores to
    compute, by default all of the protocol; ``rig``, or each pair's matches, brings infrared images
    into the visible frame.
    ``workers`` are processes, by default one per CPU that this process may use; 1 scores in this
    process. Others are spawned, since this process may hold threads (JAX) that a fork would break:
    a script that calls this needs ``if __name__ == "__main__":``.
    """
    names = names or tuple(PROTOCOLS[protocol].metrics)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = max(1, min(workers or usable or 1, len(scenes)))
    bar = progress(None, "scoring", total=len(scenes), unit="image")
    with bar:
        if workers == 1:
            results = []
            for scene in scenes:
                results.append(score_scene(scene, protocol, baselines, names, rig))
                bar.update()
            return results
        executor = concurrent.futures.ProcessPoolExecutor(
            workers, mp_context=multiprocessing.get_context("spawn")
        )
        try:
            with _interrupts_blocked():
                tasks = [
                    executor.submit(score_scene, s, protocol, baselines, names, rig) for s in scenes
                ]
            for task in concurrent.futures.as_completed(tasks):
                task.result()
                bar.update()
            return [task.result() for task in tasks]
        except BrokenProcessPool:
            raise InputError(
                "a scoring process was killed, perhaps for lack of memory; give fewer --workers"
            ) from None
        except BaseException:  # what the workers do is of no use any more
            for process in multiprocessing.active_children():
                process.terminate()
            raise
        finally:
            executor.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Start workers that Ctrl-C does not reach: this process ends them, without tracebacks.

    The signal mask is inherited; a Ctrl-C in the meantime arrives here when the block ends.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def score_scene(
    scene: Scene,
    protocol: str,
    baselines: tuple[str, ...],
    names: tuple[str, ...],
    rig: Rig | Matches | None = None,
) -> SceneScores:
    """Score one scene's fused images and baselines; never raises `InputError`.

    Every file that cannot be read or does not fit becomes a line of ``errors``; a flat image, whose
    scores are defined but mean little, and whatever was changed in reading a file, of ``notes``.
    """
    pair, chosen = scene.pair, PROTOCOLS[protocol]
    metrics = [chosen.metric(name) for name in names]
    result = SceneScores(pair.name, [], {}, [], [], [], [])
    try:
        visible, infrared = (
            _noted(photo, path, result.notes)
            for photo, path in zip(read_pair(pair, any_sizes=True), pair[1:], strict=True)
        )
        if isinstance(rig, Matches):
            rig = rig.rig(pair)
        if rig:
            visible, infrared = rig.place(visible, infrared)
        visible, infrared = _same_size(
            (pair.visible, pair.infrared), (visible, infrared), result.notes
        )
        for name in baselines:
            widest = max(visible, infrared, key=np.ndim)  # in colour if any is
            split = planes((widest, visible, infrared), chosen.colour)
            made = {id(each): (BASELINES[name](*each[1:]), *each[1:]) for each in split}
            result.baselines[name] = score_planes(metrics, [made[id(each)] for each in split])
    except InputError as error:
        result.errors.append(_naming(pair.name, error))
        return result
    for files in scene.fused:
        result.runs.append([])
        result.stretched.append(True)
        result.coloured.append(False)
        for path in files:
            try:
                fused = _read_fused(path, result.notes)
                images = _same_size(
                    (path, pair.visible, pair.infrared), (fused, visible, infrared), result.notes
                )
                split = planes(images, chosen.colour)
                result.runs[-1].append(score_planes(metrics, split))
                result.coloured[-1] |= bool(is_coloured(fused))
                low = min(each[0].min() for each in split)
                high = max(each[0].max() for each in split)
                result.stretched[-1] &= bool(low == 0 and high == 255)
            except InputError as error:
                result.errors.append(_naming(pair.name, error))
    return result


def _read_fused(path: Path, notes: list[tuple[str, str]]) -> np.ndarray:
    """Read a fused image as uint8, HxW or HxWx3: no range is measured."""
    photo = read_photo(path)
    if photo.pixels.dtype != np.uint8:
        with naming(path):
            photo = photo._replace(pixels=levels.of_fused(photo.pixels))
    return _noted(photo, path, notes)


def _noted(photo: Photo, path: Path, notes: list[tuple[str, str]]) -> np.ndarray:
    """Return an image in [0, 1] or of 8 bits as uint8, and note what was done in reading it."""
    name = f"{path.parent.name}/{path.name}"
    label = name + (" {:.6g} to {:.6g}".format(*photo.limits) if photo.limits else "")
    notes += [(note, label) for note in photo.notes]
    pixels = levels.in_8_bits(photo.pixels)
    if pixels.min() == pixels.max():
        flat = f"every pixel is {pixels.min()}; scores are the values defined for a flat image "
        notes.append((f"{flat}(docs/scores.md), not NaN", name))
    return pixels


def _same_size(
    files: tuple[Path, ...], images: tuple[np.ndarray, ...], notes: list[tuple[str, str]]
) -> tuple[np.ndarray, ...]:
    """Crop images that differ by one pixel to what they share from the top left, and note it."""
    shapes = [image.shape[:2] for image in images]
    height, width = (min(sides) for sides in zip(*shapes, strict=True))
    if max(max(h - height, w - width) for h, w in shapes) > LARGEST_CROP:
        sizes = ", ".join(f"{path} {w}x{h}" for path, (h, w) in zip(files, shapes, strict=True))
        raise InputError(
            f"the images of a scene have one size, or differ by {LARGEST_CROP} pixel and are "
            f"cropped; got (width x height) {sizes}; resize them, or, "
            "if it was fused with --fill, fuse without it"
        )
    if len(set(shapes)) > 1:
        note = "sizes differ by one pixel, cropped to what all share from the top left"
        notes.append((note, f"{files[0].parent.name}/{files[0].name}"))
    return tuple(image[:height, :width] for image in images)


def _naming(name: str, error: InputError) -> str:
    message = str(error)
    return message if name in message else f"{name}: {message}"
