"""Fusing many pairs of files, on every device of this process, in order.

A CPU computes one pair at a time, an accelerator a batch of small ones; meanwhile threads read,
measure and write others.
"""

import concurrent.futures
import contextlib
import functools
import itertools
import os
import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax

from cddfuse_jax.console import progress, report_error, report_notes, report_per_process
from cddfuse_jax.errors import InputError
from cddfuse_jax.fusing.jobs import AS_THEY_ARE, Job, Treatment
from cddfuse_jax.fusing.memory import devices_in_one_memory
from cddfuse_jax.fusing.pair_files import (
    ANY_TIME,
    Ahead,
    AnyFuser,
    Outcome,
    fit_of,
    fuse_files,
    read,
)
from cddfuse_jax.fusing.volumes import fuse_volumes
from cddfuse_jax.images.medical_files import ALL
from cddfuse_jax.pairs.find import looks_medical
from cddfuse_jax.pairs.notes import warning_of_view
from cddfuse_jax.pairs.read import Size, read_pair_size
from cddfuse_jax.weights.shipped import SHIPPED

AHEAD = 2**26  # bytes of pixels that are read before work begins: some 50 pairs of 640x480
MOST_AT_ONCE = 8
LARGE = 2e6  # pixels; from there on one pair at a time: its files' arrays take some 50 B a pixel
BATCH = 4  # pairs that an accelerator computes at a time
BATCHED_PIXELS = 5e5  # of images that do not fill it alone


def fuse_jobs(
    fuser: AnyFuser, jobs: list[Job], treatment: Treatment = AS_THEY_ARE
) -> Generator[Outcome]:
    """Fuse each pair to its file; yield what became of it, in the order of the jobs.

    Pairs of many sizes share a few compilations.

    Raises:
        WriteError: the disk is full.
    """
    if treatment.page == ALL:
        yield from fuse_volumes(fuser, jobs, treatment)
        return
    ahead, sizes = _read_ahead(fuser, jobs, treatment)
    remarks = []
    fuser.expect(sizes)
    if _is_for_cameras(fuser) and all(looks_medical(job.pair) for job in jobs):
        remarks.append("note: by their names these are medical pairs; --weights mif is for them")
    registered = fuser.registration or treatment.matches
    if not registered and (warning := warning_of_view(list(ahead.values()))):
        remarks.append(f"warning: {warning}")
    batch = batch_size(fuser.device or jax.local_devices()[0], sizes)
    batches = [jobs[first : first + batch] for first in range(0, len(jobs), batch)]

    def work(fuser: AnyFuser, lock: AbstractContextManager, jobs: list[Job]) -> list[Outcome]:
        return fuse_files(fuser, jobs, treatment, lock, batch, ahead)

    overlap = all(height * width < LARGE for height, width in sizes)
    results = _over_devices(fuser, work, batches, overlap)
    try:
        for outcome in itertools.chain.from_iterable(result() for result in results):
            yield outcome._replace(remarks=tuple(remarks))
            remarks = []
    finally:
        results.close()  # waits for batches that have begun


def reported(outcomes: Generator[Outcome], count: int) -> Iterator[Outcome]:
    """Yield outcomes behind a progress bar, and print their errors, warnings, and last notes."""
    notes = defaultdict(list)
    try:
        for outcome in progress(outcomes, "fusing", total=count, unit="pair"):
            for line in outcome.remarks:
                report_per_process(line)
            if outcome.error:
                report_error(outcome.error)
            if outcome.warning:
                report_per_process(f"warning: {outcome.pair.name}: {outcome.warning}")
            for note, name in outcome.notes.items():
                notes[note].append(name)
            yield outcome
    finally:
        outcomes.close()
        report_notes(notes)


def _is_for_cameras(fuser: AnyFuser) -> bool:
    weights = fuser.weights.split()[0]
    return weights in SHIPPED and weights != "mif" and fuser.residual == "visible"


def batch_size(device: jax.Device, sizes: Sequence[Size]) -> int:
    """Return how many of so many pairs are computed at a time: on accelerators several.

    Small images of one size, and no fewer than fill a batch.
    """
    if device.platform == "cpu" or len(set(sizes)) != 1 or len(sizes) < BATCH:
        return 1
    ((height, width),) = set(sizes)
    return BATCH if height * width <= BATCHED_PIXELS else 1


def _read_ahead(fuser: AnyFuser, jobs: list[Job], treatment: Treatment) -> tuple[Ahead, list[Size]]:
    """Read pairs up to `AHEAD` bytes, and of the others the sizes, from their headers."""
    ahead: Ahead = {}
    sizes, held = [], 0
    for job in jobs:
        with contextlib.suppress(InputError):  # raised again when that pair is fused
            if held < AHEAD:
                images = ahead[job] = read(fuser, job.pair, treatment)
                held += sum(pixels.nbytes for pixels in images.pixels)
                sizes.append(images.visible.pixels.shape[:2])
            else:
                fit = fit_of(fuser, job.pair, treatment)
                sizes.append(read_pair_size(job.pair, treatment.page, fit))
    return ahead, sizes


def _over_devices(
    fuser: AnyFuser, work: Callable[..., Any], batches: list[list[Job]], overlap: bool
) -> Generator[Callable[[], Any]]:
    """Yield, in order, what waits for each ``work(fuser, lock, batch)``, several at once.

    Jobs of a device share a lock while they compute; with ``overlap`` the files of others are read
    and written meanwhile. Closed early, it starts no more.
    """
    devices = [fuser.device] if fuser.device else jax.local_devices()
    at_once = _pairs_at_once(devices) if overlap else len(devices)
    if at_once == 1:
        for batch in batches:
            yield functools.partial(work, fuser, ANY_TIME, batch)
        return
    fusers = [fuser]
    if len(devices) > 1:
        fusers = [fuser.on(device, devices_in_one_memory()) for device in devices]
    locked = [(fuser, threading.Lock()) for fuser in fusers]
    idle: queue.SimpleQueue[tuple[AnyFuser, AbstractContextManager]] = queue.SimpleQueue()
    for one in itertools.islice(itertools.cycle(locked), at_once):
        idle.put(one)

    def work_on_idle(batch: list[Job]) -> Any:
        one = idle.get()
        try:
            return work(*one, batch)
        finally:
            idle.put(one)

    executor = concurrent.futures.ThreadPoolExecutor(at_once)
    try:
        for task in [executor.submit(work_on_idle, batch) for batch in batches]:
            yield task.result
    finally:
        executor.shutdown(cancel_futures=True)


def _pairs_at_once(devices: list[jax.Device]) -> int:
    """Return how many batches are read, computed or written at a time.

    An accelerator computes a pair faster than a core reads and writes its files, so there are
    pairs for other cores. A CPU computes with all cores, and takes longer when one is called away.
    """
    if devices[0].platform == "cpu":
        return len(devices)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return len(devices) + min(cores or 1, MOST_AT_ONCE)
