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
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import jax

from cddfuse_jax._version import __version__
from cddfuse_jax.console import progress, report_error, report_notes, report_per_process
from cddfuse_jax.errors import InputError, WriteError
from cddfuse_jax.fusing.jobs import AS_THEY_ARE, Job, Treatment
from cddfuse_jax.fusing.memory import devices_in_one_memory
from cddfuse_jax.fusing.pair_fuser import PairFuser
from cddfuse_jax.images import levels
from cddfuse_jax.images.image_files import naming
from cddfuse_jax.images.output_files import write_image
from cddfuse_jax.images.pair_photos import (
    aligned,
    notes_on,
    read_pair,
    sizes_of,
    warning_of_view,
    warnings_on,
)
from cddfuse_jax.images.pairs import Pair
from cddfuse_jax.images.registration import measure_shift


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


ANY_TIME: AbstractContextManager = contextlib.nullcontext()
MOST_AT_ONCE = 8
LARGE = 2e6  # pixels; from there on one pair at a time, for its files' arrays take some 50 B each


def fuse_jobs(
    fuser: PairFuser, jobs: list[Job], treatment: Treatment = AS_THEY_ARE
) -> Iterator[Outcome]:
    """Fuse each pair to its file; yield what became of it, in the order of the jobs.

    Failures and pairs that seem misregistered are reported as they come, notes on how files were
    read at the end. Pairs of many sizes share a few compilations.

    Raises:
        WriteError: the disk is full.
    """
    fit = fuser.registration or treatment.resize
    sizes = sizes_of([job.pair for job in jobs], fit, treatment.page)
    fuser.expect(sizes)
    if warning := warning_of_view([job.pair for job in jobs], fit, fuser.ranges, treatment.page):
        report_per_process(f"warning: {warning}")
    notes = defaultdict(list)

    def work(fuser: PairFuser, turn: AbstractContextManager, job: Job) -> Outcome:
        started = time.perf_counter()
        try:
            return fuse_file(fuser, job, treatment, turn)
        except WriteError:  # nor will the next
            raise
        except InputError as error:
            return Outcome(*job, str(error), seconds=time.perf_counter() - started)

    ahead = all(height * width < LARGE for height, width in sizes)
    results = _over_devices(fuser, work, jobs, ahead)
    try:
        for result in progress(results, "fusing", total=len(jobs), unit="pair"):
            outcome = result()
            if outcome.error:
                report_error(outcome.error)
            if outcome.warning:
                report_per_process(f"warning: {outcome.pair.name}: {outcome.warning}")
            for note, name in outcome.notes.items():
                notes[note].append(name)
            yield outcome
    finally:
        results.close()  # lets what is at work finish
        report_notes(notes)


def _over_devices(
    fuser: PairFuser, work: Callable[..., Any], jobs: list[Job], ahead: bool
) -> Generator[Callable[[], Any]]:
    """Yield, in order, what waits for each ``work(fuser, turn, job)``, several at once.

    Works on one device share a ``turn``, in which they compute; without ``ahead`` there is one on
    each. Closed early, it starts no more.
    """
    devices = [fuser.device] if fuser.device else jax.local_devices()
    at_once = _pairs_at_once(devices) if ahead else len(devices)
    if at_once == 1:
        for job in jobs:
            yield functools.partial(work, fuser, ANY_TIME, job)
        return
    fusers = [fuser]
    if len(devices) > 1:
        fusers = [fuser.on(device, devices_in_one_memory()) for device in devices]
    turns = [(fuser, threading.Lock()) for fuser in fusers]
    idle: queue.SimpleQueue[tuple[PairFuser, AbstractContextManager]] = queue.SimpleQueue()
    for one in itertools.islice(itertools.cycle(turns), at_once):
        idle.put(one)

    def work_on_idle(job: Job) -> Any:
        one = idle.get()
        try:
            return work(*one, job)
        finally:
            idle.put(one)

    executor = concurrent.futures.ThreadPoolExecutor(at_once)
    try:
        for task in [executor.submit(work_on_idle, job) for job in jobs]:
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
    fuser: PairFuser,
    job: Job,
    treatment: Treatment = AS_THEY_ARE,
    turn: AbstractContextManager = ANY_TIME,
) -> Outcome:
    """Fuse a pair's files to a file, computing within ``turn``."""
    started = time.perf_counter()
    pair, out = job
    fit = fuser.registration or treatment.resize
    photos = read_pair(pair, fit, fuser.ranges, treatment.page)
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
        software=f"cddfuse-jax {__version__}",
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
