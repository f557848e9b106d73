"""Fusing many pairs of files, on every device of this process, in order.

A CPU computes one pair at a time, an accelerator a batch of small ones; beside it threads read,
measure and write others.
"""

import concurrent.futures
import functools
import itertools
import os
import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from typing import Any

import jax

from cddfuse_jax.console import progress, report_error, report_notes, report_per_process
from cddfuse_jax.fusing.jobs import AS_THEY_ARE, Job, Treatment
from cddfuse_jax.fusing.memory import devices_in_one_memory
from cddfuse_jax.fusing.pair_files import ANY_TIME, Outcome, fuse_files
from cddfuse_jax.fusing.pair_fuser import PairFuser
from cddfuse_jax.pairs.read import sizes_of, warning_of_view

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
    batch = fuser.batch_size(sizes)
    batches = [jobs[first : first + batch] for first in range(0, len(jobs), batch)]

    def work(fuser: PairFuser, turn: AbstractContextManager, jobs: list[Job]) -> list[Outcome]:
        return fuse_files(fuser, jobs, treatment, turn, batch)

    ahead = all(height * width < LARGE for height, width in sizes)
    results = _over_devices(fuser, work, batches, ahead)
    outcomes = itertools.chain.from_iterable(result() for result in results)
    try:
        for outcome in progress(outcomes, "fusing", total=len(jobs), unit="pair"):
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
    fuser: PairFuser, work: Callable[..., Any], batches: list[list[Job]], ahead: bool
) -> Generator[Callable[[], Any]]:
    """Yield, in order, what waits for each ``work(fuser, turn, batch)``, several at once.

    Works on one device share a ``turn``, in which they compute; without ``ahead`` there is one on
    each. Closed early, it starts no more.
    """
    devices = [fuser.device] if fuser.device else jax.local_devices()
    at_once = _pairs_at_once(devices) if ahead else len(devices)
    if at_once == 1:
        for batch in batches:
            yield functools.partial(work, fuser, ANY_TIME, batch)
        return
    fusers = [fuser]
    if len(devices) > 1:
        fusers = [fuser.on(device, devices_in_one_memory()) for device in devices]
    turns = [(fuser, threading.Lock()) for fuser in fusers]
    idle: queue.SimpleQueue[tuple[PairFuser, AbstractContextManager]] = queue.SimpleQueue()
    for one in itertools.islice(itertools.cycle(turns), at_once):
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
