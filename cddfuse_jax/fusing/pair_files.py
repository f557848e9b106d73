"""Fusing pairs of files to files: one failure costs one pair, and no file is half-written."""

import contextlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from cddfuse_jax._version import __version__
from cddfuse_jax.errors import InputError, WriteError
from cddfuse_jax.fusing.jobs import AS_THEY_ARE, Job, Treatment
from cddfuse_jax.images.image_files import naming
from cddfuse_jax.images.metadata import NO_METADATA
from cddfuse_jax.images.output_files import write_image
from cddfuse_jax.pairs.find import Pair
from cddfuse_jax.pairs.notes import notes_on, warnings_on
from cddfuse_jax.pairs.read import Fit, ImagePair, aligned, read_pair
from cddfuse_jax.rigs.shift import measure_shift

AnyFuser = Any  # a `fuser.Fuser`, which imports this file
Ahead = dict[Job, ImagePair]  # pairs that were read before, each taken out once
ANY_TIME: AbstractContextManager = contextlib.nullcontext()


class Outcome(NamedTuple):
    """What became of one pair: its file, or why there is none.

    ``notes`` are on how files were read (note -> file), ``shift`` is the infrared image's against
    the visible one where it is certain, (right, down) in pixels; ``seconds`` from the start of
    reading to the end of writing, without those in which the device had other pairs to compute;
    those of a batch are shared out, and those of reading before work begins are not counted.
    ``remarks`` are on all pairs of a folder, with its first one.
    """

    pair: Pair
    out: Path
    error: str | None = None
    size: tuple[int, int] | None = None
    notes: dict[str, str] = {}  # noqa: RUF012 - of a tuple that is never changed
    warning: str | None = None
    shift: tuple[int, int] | None = None
    seconds: float = 0.0
    remarks: tuple[str, ...] = ()


class _Read(NamedTuple):
    """A pair's images, and what is known of them."""

    job: Job
    images: ImagePair
    known: Outcome


def fuse_files(
    fuser: AnyFuser,
    jobs: list[Job],
    treatment: Treatment = AS_THEY_ARE,
    lock: AbstractContextManager = ANY_TIME,
    batch: int = 1,
    ahead: Ahead | None = None,
) -> list[Outcome]:
    """Fuse pairs' files to files, computing with ``lock``, at once where ``batch`` is over 1.

    Raises:
        WriteError: the disk is full.
    """
    started = time.perf_counter()
    outcomes: dict[Job, Outcome] = {}
    read: list[_Read] = []
    lumas: list[tuple[_Read, Float[np.ndarray, "h w"]]] = []

    @contextlib.contextmanager
    def trying(job: Job) -> Iterator[None]:
        try:
            yield
        except WriteError:  # nor will the next be written
            raise
        except InputError as error:
            outcomes[job] = Outcome(*job, str(error))

    for job in jobs:
        with trying(job):
            read.append(_read(fuser, job, treatment, ahead or {}))
    ready = time.perf_counter()
    with lock:
        waited = time.perf_counter() - ready
        if batch > 1 and len({one.known.size for one in read}) == 1:
            with contextlib.suppress(InputError):  # which each pair raises below
                found = fuser.fuse_grey_batch([one.images.grey for one in read], batch)
                lumas.extend(zip(read, found, strict=True))
        if not lumas:
            for one in read:
                with trying(one.job), naming(one.job.pair.name):
                    lumas.append((one, fuser.fuse_grey(*one.images.grey)))
    for one, luma in lumas:
        with trying(one.job):
            outcomes[one.job] = _written(fuser, one, luma, treatment)
    seconds = (time.perf_counter() - started - waited) / len(jobs)
    return [outcomes[job]._replace(seconds=seconds) for job in jobs]


def read(fuser: AnyFuser, pair: Pair, treatment: Treatment) -> ImagePair:
    """Read a pair as it will be fused."""
    return read_pair(pair, fit_of(fuser, pair, treatment), fuser.ranges, treatment.page)


def fit_of(fuser: AnyFuser, pair: Pair, treatment: Treatment) -> Fit:
    """Return how a pair's images are brought to one size."""
    if treatment.matches:
        return treatment.matches.rig(pair, treatment.page)
    return fuser.registration or treatment.resize


def _read(fuser: AnyFuser, job: Job, treatment: Treatment, ahead: Ahead) -> _Read:
    images = ahead.pop(job, None) or read(fuser, job.pair, treatment)
    warnings = warnings_on(images)
    with naming(job.pair.name):
        shift = measure_shift(*images.grey)
    found = shift if shift and shift.is_misregistered else None
    warnings += [found.warning] if found else []
    if found and treatment.align:
        images = aligned(images, found)
        height, width = images.visible.pixels.shape[:2]
        warnings[-1] = (
            f"the infrared image was moved by {-found.right} right and {-found.down} down, and "
            f"both cropped to the {width}x{height} pixels that they share"
        )
    known = Outcome(
        *job,
        size=images.visible.pixels.shape[:2],
        notes=notes_on(images),
        warning="; ".join(warnings) or None,
        shift=found and (found.right, found.down),
    )
    return _Read(job, images, known)


def _written(
    fuser: AnyFuser, read: _Read, luma: Float[np.ndarray, "h w"], treatment: Treatment
) -> Outcome:
    with naming(read.job.pair.name):
        fused = fuser.finished(luma, *read.images.pixels)
    write_image(
        read.job.out,
        fused,
        treatment.format,
        treatment.quality,
        software=f"cddfuse-jax {__version__}",
        metadata=NO_METADATA if treatment.strip_metadata else read.images.visible.metadata,
        description=f"CDDFuse, weights {fuser.weights}, residual {fuser.residual}",
    )
    return read.known
