"""Fusing many pairs of files: one failure costs one pair, and nothing is overwritten by chance.

Every device of this process computes one pair at a time; beside an accelerator, threads read,
measure and write others.
"""

import concurrent.futures
import contextlib
import functools
import itertools
import os
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import jax

import cddfuse_jax
from cddfuse_jax.console import progress, report_error, report_notes, report_per_process
from cddfuse_jax.errors import InputError, WriteError
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.fusing.memory import devices_in_one_memory
from cddfuse_jax.images import levels
from cddfuse_jax.images.image_files import naming
from cddfuse_jax.images.output_files import FORMATS, QUALITY, Format, is_image_name, write_image
from cddfuse_jax.images.pair_photos import (
    Resize,
    aligned,
    notes_on,
    read_pair,
    sizes_of,
    warnings_on,
)
from cddfuse_jax.images.pairs import Pair
from cddfuse_jax.images.registration import measure_shift


class Treatment(NamedTuple):
    """What is done to the files of every pair, beside fusing them.

    Attributes:
        resize: see `images.pair_photos.read_pair`.
        align: whether a shift that is certain is undone, by cropping both to what they share.
        format: how the fused image is stored, one of `images.output_files.FORMATS`.
        quality: of a JPEG, 1 to 100.
        page: which page or slice is read, see `images.image_files.read_photo`.
    """

    resize: Resize | None = None
    align: bool = False
    format: Format = FORMATS["png"]
    quality: int = QUALITY
    page: int | None = None


class Outcome(NamedTuple):
    """What became of one pair: its file, or why there is none.

    ``notes`` are on how files were read (note -> file), ``shift`` is the infrared image's against
    the visible one where it is certain, (right, down) in pixels; ``seconds`` from the start of
    reading to the end of writing, without those in which the device had other pairs to compute.
    """

    pair: Pair
    out: Path
    error: str | None = None
    size: tuple[int, int] | None = None
    notes: dict[str, str] = {}  # noqa: RUF012 - of a tuple that is never changed
    warning: str | None = None
    shift: tuple[int, int] | None = None
    seconds: float = 0.0


AS_THEY_ARE = Treatment()
ANY_TIME: AbstractContextManager = contextlib.nullcontext()
MOST_AT_ONCE = 8
LARGE = 2e6  # pixels; from there on one pair at a time, for its files' arrays take some 50 B each


def fuse_pairs(
    fuser: Fuser,
    pairs: list[Pair],
    files: list[Path],
    treatment: Treatment = AS_THEY_ARE,
    tell: Callable[[Outcome], None] = lambda outcome: None,
) -> int:
    """Fuse each pair to its file and return how many came out.

    Failures and pairs that seem misregistered are told as they come, notes on how files were read
    at the end, all in the order of the pairs. Pairs of many sizes share a few compilations.
    ``tell`` is given every outcome, in that order too.
    """
    sizes = sizes_of(pairs, treatment.resize, treatment.page)
    fuser.expect(sizes)
    fused, notes = 0, defaultdict(list)

    def work(fuser: Fuser, turn: AbstractContextManager, pair: Pair, file: Path) -> Outcome:
        started = time.perf_counter()
        try:
            return fuse_file(fuser, pair, file, treatment, turn)
        except WriteError:  # nor will the next
            raise
        except InputError as error:
            return Outcome(pair, file, str(error), seconds=time.perf_counter() - started)

    ahead = all(height * width < LARGE for height, width in sizes)
    results = _over_devices(fuser, work, list(zip(pairs, files, strict=True)), ahead)
    try:
        for pair, result in zip(progress(pairs, "fusing", unit="pair"), results, strict=True):
            outcome = result()
            fused += outcome.error is None
            if outcome.error:
                report_error(outcome.error)
            if outcome.warning:
                report_per_process(f"warning: {pair.name}: {outcome.warning}")
            for note, name in outcome.notes.items():
                notes[note].append(name)
            tell(outcome)
    finally:
        results.close()  # lets what is at work finish
        report_notes(notes)
    return fused


def _over_devices(
    fuser: Fuser, work: Callable[..., Any], items: list[tuple], ahead: bool
) -> Generator[Callable[[], Any]]:
    """Yield, in order, what waits for each ``work(fuser, turn, *item)``, several at once.

    Works on one device share a ``turn``, in which they compute; without ``ahead`` there is one on
    each. Closed early, it starts no more.
    """
    devices = [fuser.device] if fuser.device else jax.local_devices()
    at_once = _pairs_at_once(devices) if ahead else len(devices)
    if at_once == 1:
        for item in items:
            yield functools.partial(work, fuser, ANY_TIME, *item)
        return
    fusers = [fuser]
    if len(devices) > 1:
        fusers = [fuser.on(device, devices_in_one_memory()) for device in devices]
    turns = [(fuser, threading.Lock()) for fuser in fusers]
    idle: queue.SimpleQueue[tuple[Fuser, AbstractContextManager]] = queue.SimpleQueue()
    for one in itertools.islice(itertools.cycle(turns), at_once):
        idle.put(one)

    def work_on_idle(*item: Any) -> Any:
        one = idle.get()
        try:
            return work(*one, *item)
        finally:
            idle.put(one)

    executor = concurrent.futures.ThreadPoolExecutor(at_once)
    try:
        for task in [executor.submit(work_on_idle, *item) for item in items]:
            yield task.result
    finally:
        executor.shutdown(cancel_futures=True)


def _pairs_at_once(devices: list[jax.Device]) -> int:
    """Return how many pairs are read, computed or written at a time.

    An accelerator computes a pair faster than a core reads and writes its files, so there are
    pairs for other cores. A CPU computes with all cores, and takes longer when one is called away.
    """
    if devices[0].platform == "cpu":
        return len(devices)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return len(devices) + min(cores or 1, MOST_AT_ONCE)


def fuse_file(
    fuser: Fuser,
    pair: Pair,
    out: Path,
    treatment: Treatment = AS_THEY_ARE,
    turn: AbstractContextManager = ANY_TIME,
) -> Outcome:
    """Fuse a pair's files to the file ``out``, computing within ``turn``.

    Raises:
        InputError: a file cannot be read, or the sizes differ or are below 2x2.
    """
    started = time.perf_counter()
    photos = read_pair(pair, treatment.resize, fuser.ranges, treatment.page)
    warnings = warnings_on(pair, photos)
    with naming(pair.name):
        shift = measure_shift(*(levels.network_input(photo.pixels) for photo in photos))
        found = shift if shift and shift.is_misregistered else None
        warnings += [found.warning] if found else []
        if found and treatment.align:
            photos = aligned(photos, found)
            height, width = photos.visible.pixels.shape[:2]
            warnings[-1] = (
                f"the infrared image was moved by {-found.right} right and {-found.down} down, and "
                f"both cropped to the {width}x{height} pixels that they share"
            )
        images = photos.visible.pixels, photos.infrared.pixels
        ready = time.perf_counter()
        with turn:
            waited = time.perf_counter() - ready
            luma = fuser.luma(*images)
        fused = fuser.finished(luma, *images)
    write_image(
        out,
        fused,
        treatment.format,
        treatment.quality,
        software=f"cddfuse-jax {cddfuse_jax.__version__}",
        description=f"CDDFuse, weights {fuser.weights}, residual {fuser.residual}",
    )
    return Outcome(
        pair,
        out,
        size=(fused.shape[0], fused.shape[1]),
        notes=notes_on(pair, photos),
        warning="; ".join(warnings) or None,
        shift=found and (found.right, found.down),
        seconds=time.perf_counter() - started - waited,
    )


def outputs(pairs: list[Pair], out: Path, as_format: Format = FORMATS["png"]) -> list[Path]:
    """Return the file that each pair is fused to: ``out/NAME.png``, or ``out`` itself if an image.

    Raises:
        InputError: outputs would lie among the inputs, or a folder of pairs is to become one file.
    """
    single = is_image_name(out)
    if single and len(pairs) > 1:
        raise InputError(f"--out is a folder for {len(pairs)} pairs, got the file {out}")
    if not single and out.exists() and not out.is_dir():
        raise InputError(f"--out is a folder for fused images, {out} is a file; give another name")
    files = [out] if single else [out / f"{pair.name}{as_format.suffix}" for pair in pairs]
    inputs = {path.resolve() for pair in pairs for path in (pair.visible, pair.infrared)}
    if len(pairs) > 1 and out.resolve() in {path.parent for path in inputs}:
        raise InputError(f"{out}: fused images must not lie among the inputs; name another --out")
    return files
