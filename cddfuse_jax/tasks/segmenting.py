"""The whole comparison: the same segmenter trained on each input with each seed, and scored."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import cddfuse_jax
from cddfuse_jax.console import report
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import alone_in, replacing
from cddfuse_jax.images.image_files import write_png
from cddfuse_jax.tasks.inputs import Input, Sources, input_files, read_input
from cddfuse_jax.tasks.iou import Method, confusion
from cddfuse_jax.tasks.labels import Classes, label_files, read_labels, resized_labels
from cddfuse_jax.tasks.learning import Budget, Trained, predictor, train

RESULTS = "results.json"


class Split(NamedTuple):
    """Names of the images that are trained on, and of those that are tested on."""

    train: list[str]
    test: list[str]


class Plan(NamedTuple):
    """What is compared: inputs of the same scenes, and everything that they share.

    ``scale`` is what the labels' height and width are divided by, for the images shown.
    """

    inputs: list[Input]
    sources: Sources
    labels: Path
    split: Split
    classes: Classes
    scale: int
    seeds: list[int]
    budget: Budget


def segment(plan: Plan, out: Path) -> Iterator[list[Method]]:
    """Train and score every input with every seed; what is done already in ``out`` is kept.

    Seeds are the outer loop, so that a run that is stopped early has compared all inputs: yielded
    are the methods after each seed that all inputs have. Written: results.json after each training;
    predictions/INPUT/seed-N/NAME.png, label maps with the numbers of ``plan.classes`` and the
    labels' own size.

    Raises:
        InputError: files are missing or of different sizes, the split has an image on both sides,
            or ``out`` holds a comparison of something else.
    """
    both = sorted(set(plan.split.train) & set(plan.split.test))
    if both:
        raise InputError(
            f"an image is trained on or tested on, {len(both)} are both, the first is {both[0]}"
        )
    names = plan.split.train + plan.split.test
    files = {of.name: input_files(of, plan.sources, names) for of in plan.inputs}
    with alone_in(out, "comparison"):
        truth = _read_labels(plan, names)
        height, width = (side // plan.scale for side in truth.shape[1:])
        results = _begun(out / RESULTS, _settings(plan, truth.shape[1:]))
        _write(out / RESULTS, results)  # so that none goes on from what other settings began
        for seed in plan.seeds:
            for of in plan.inputs:
                if not _find(results, of.name, seed):
                    images = read_input(of, files[of.name], height, width)
                    results["runs"].append(_one(plan, of, seed, images, truth, out))
                    _write(out / RESULTS, results)
            done = plan.seeds[: plan.seeds.index(seed) + 1]
            yield methods_of(results, [of.name for of in plan.inputs], done)


def methods_of(results: dict, inputs: Sequence[str], seeds: Sequence[int]) -> list[Method]:
    """Return the confusions of `RESULTS` for inputs and seeds that are all done."""
    methods = []
    for name in inputs:
        runs = [_find(results, name, seed) for seed in seeds]
        counts = [list(run["confusion"].values()) for run in runs if run]
        methods.append(Method(name, tuple(map(str, seeds)), np.array(counts, np.int64)))
    return methods


def _one(plan: Plan, of: Input, seed: int, images, truth, out: Path) -> dict[str, Any]:
    """Train and test with one seed; ``images`` and ``truth`` hold the training set first."""
    count, classes = len(plan.split.train), len(plan.classes.names)
    label = f"{of.name}, seed {seed}"
    height, width = images.shape[1:3]
    small = np.stack([resized_labels(each, height, width) for each in truth[:count]])
    checkpoint = out / "unfinished" / f"{of.name}-{seed}.msgpack"
    trained = train(images[:count], small, classes, seed, plan.budget, label, checkpoint)
    predict = predictor(trained, classes, plan.budget.width, *truth.shape[1:])
    counts = {}
    folder = out / "predictions" / of.name / f"seed-{seed}"
    for start in range(0, len(plan.split.test), 20):
        part = plan.split.test[start : start + 20]
        inside = slice(count + start, count + start + len(part))
        for name, true, predicted in zip(part, truth[inside], predict(images[inside]), strict=True):
            write_png(folder / f"{name}.png", predicted)
            counts[name] = confusion(true, predicted, classes).tolist()
    checkpoint.unlink(missing_ok=True)
    report(f"{label}: loss {trained.loss:.3f}, {trained.seconds:.0f} s")
    return _told(of.name, seed, trained, counts)


def _told(name: str, seed: int, trained: Trained, counts: dict) -> dict[str, Any]:
    parameters = sum(leaf.size for leaf in jax.tree.leaves(trained.params))
    return {
        "input": name,
        "seed": seed,
        "loss": trained.loss,
        "seconds": round(trained.seconds, 1),
        "parameters": parameters,
        "confusion": counts,
    }


def _read_labels(plan: Plan, names: list[str]) -> np.ndarray:
    maps = []
    for path in label_files(plan.labels, names).values():
        maps.append(plan.classes.of(read_labels(path, plan.classes.stored)))
        if maps[-1].shape != maps[0].shape:
            first, this = ("x".join(map(str, each.shape[::-1])) for each in (maps[0], maps[-1]))
            raise InputError(
                f"{path}: all label maps have one size, this one is {this}, the first {first}"
            )
    return np.stack(maps)


def _settings(plan: Plan, size: tuple[int, ...]) -> dict[str, Any]:
    return {
        "classes": list(plan.classes.names),
        "label_size": list(size),
        "scale": plan.scale,
        "budget": plan.budget._asdict(),
        "train_images": len(plan.split.train),
        "test": plan.split.test,
    }


def _begun(path: Path, settings: dict) -> dict[str, Any]:
    if not path.exists():
        return {"version": cddfuse_jax.__version__, "settings": settings, "runs": []}
    results = read_results(path)
    stored = results["settings"]
    other = [key for key in settings if stored.get(key) != settings[key]]
    if other:
        raise InputError(
            f"{path}: holds a comparison with other settings ({', '.join(other)}); name another "
            "--out, or give the same again"
        )
    return results


def read_results(path: Path) -> dict[str, Any]:
    """Read `RESULTS`.

    Raises:
        InputError: it is no such file.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        _ = results["settings"]["classes"], [run["confusion"] for run in results["runs"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not the results of a comparison; name another --out") from None
    return results


def _find(results: dict, name: str, seed: int) -> dict[str, Any] | None:
    return next((r for r in results["runs"] if (r["input"], r["seed"]) == (name, seed)), None)


def _write(path: Path, results: dict) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(results), encoding="utf-8")
