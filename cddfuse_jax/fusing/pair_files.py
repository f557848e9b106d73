"""Fusing pairs of files to files: one failure costs one pair, and no file is half-written."""

import contextlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from cddfuse_jax._version import __version__
from cddfuse_jax.errors import InputError, WriteError
from cddfuse_jax.fusing.jobs import AS_THEY_ARE, Job, Treatment
from cddfuse_jax.fusing.pair_fuser import PairFuser
from cddfuse_jax.fusing.pixels import Pixels
from cddfuse_jax.images import levels
from cddfuse_jax.images.image_files import naming
from cddfuse_jax.images.output_files import write_image
from cddfuse_jax.pairs.find import Pair
from cddfuse_jax.pairs.read import aligned, notes_on, read_pair, warnings_on
from cddfuse_jax.rigs.shift import measure_shift

ANY_TIME: AbstractContextManager = contextlib.nullcontext()


class Outcome(NamedTuple):
    """What became of one pair: its file, or why there is none.

    ``notes`` are on how files were read (note -> file), ``shift`` is the infrared image's against
    the visible one where it is certain, (right, down) in pixels; ``seconds`` from the start of
    reading to the end of writing, without those in which the device had other pairs to compute;
    those of a batch are shared out.
    """

    pair: Pair
    out: Path
    error: str | None = None
    size: tuple[int, int] | None = None
    notes: dict[str, str] = {}  # noqa: RUF012 - of a tuple that is never changed
    warning: str | None = None
    shift: tuple[int, int] | None = None
    seconds: float = 0.0


class _Read(NamedTuple):
    """A pair's two pictures, for the network, and what is known of them."""

    job: Job
    images: tuple[Pixels, Pixels]
    known: Outcome


def fuse_file(fuser: PairFuser, job: Job, treatment: Treatment = AS_THEY_ARE) -> Outcome:
    """Fuse a pair's files to a file.

    Raises:
        InputError: they cannot be read, fused or written.
    """
    (outcome,) = fuse_files(fuser, [job], treatment)
    if outcome.error:
        raise InputError(outcome.error)
    return outcome


def fuse_files(
    fuser: PairFuser,
    jobs: list[Job],
    treatment: Treatment = AS_THEY_ARE,
    turn: AbstractContextManager = ANY_TIME,
    batch: int = 1,
) -> list[Outcome]:
    """Fuse pairs' files to files, computing within ``turn``, at once where ``batch`` is over 1.

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
            read.append(_read(fuser, job, treatment))
    ready = time.perf_counter()
    with turn:
        waited = time.perf_counter() - ready
        if batch > 1 and len({one.images[0].shape[:2] for one in read}) == 1:
            with contextlib.suppress(InputError):  # which is each pair's own, below
                found = fuser.lumas([one.images for one in read], batch)
                lumas.extend(zip(read, found, strict=True))
        if not lumas:
            for one in read:
                with trying(one.job), naming(one.job.pair.name):
                    lumas.append((one, fuser.luma(*one.images)))
    for one, luma in lumas:
        with trying(one.job):
            outcomes[one.job] = _written(fuser, one, luma, treatment)
    seconds = (time.perf_counter() - started - waited) / len(jobs)
    return [outcomes[job]._replace(seconds=seconds) for job in jobs]


def _read(fuser: PairFuser, job: Job, treatment: Treatment) -> _Read:
    pair = job.pair
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
    known = Outcome(
        *job,
        size=images[0].shape[:2],
        notes=notes_on(pair, photos),
        warning="; ".join(warnings) or None,
        shift=found and (found.right, found.down),
    )
    return _Read(job, images, known)


def _written(
    fuser: PairFuser, read: _Read, luma: Float[np.ndarray, "h w"], treatment: Treatment
) -> Outcome:
    with naming(read.job.pair.name):
        fused = fuser.finished(luma, *read.images)
    write_image(
        read.job.out,
        fused,
        treatment.format,
        treatment.quality,
        software=f"cddfuse-jax {__version__}",
        description=f"CDDFuse, weights {fuser.weights}, residual {fuser.residual}",
    )
    return read.known
