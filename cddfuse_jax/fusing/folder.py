"""Fusing many pairs of files: one failure costs one pair, and nothing is overwritten by chance.

Every device of this process is kept busy by a thread of its own.
"""

import concurrent.futures
import functools
import queue
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
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
from cddfuse_jax.images.pair_photos import Resize, aligned, notes_on, read_pair, sizes_of
from cddfuse_jax.images.pairs import Pair
from cddfuse_jax.images.registration import measure_shift


class Treatment(NamedTuple):
    """What is done to the files of every pair, beside fusing them.

    Attributes:
        resize: see `images.pair_photos.read_pair`.
        align: whether a shift that is certain is undone, by cropping both to what they share.
        format: how the fused image is stored, one of `images.output_files.FORMATS`.
        quality: of a JPEG, 1 to 100.
    """

    resize: Resize | None = None
    align: bool = False
    format: Format = FORMATS["png"]
    quality: int = QUALITY


class Outcome(NamedTuple):
    """What became of one pair: its file, or why there is none.

    ``notes`` are on how files were read (note -> file), ``shift`` is the infrared image's against
    the visible one where it is certain, (right, down) in pixels; ``seconds`` from the start of
    reading to the end of writing.
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
    fuser.expect(sizes_of(pairs, treatment.resize))
    fused, notes = 0, defaultdict(list)

    def work(fuser: Fuser, pair: Pair, file: Path) -> Outcome:
        started = time.perf_counter()
        try:
            done = fuse_file(fuser, pair, file, treatment)
        except WriteError:  # nor will the next
            raise
        except InputError as error:
            done = Outcome(pair, file, str(error))
        return done._replace(seconds=time.perf_counter() - started)

    results = _over_devices(fuser, work, zip(pairs, files, strict=True))
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
    fuser: Fuser, work: Callable[..., Any], items: Iterable[tuple]
) -> Generator[Callable[[], Any]]:
    """Yield, in order, what waits for each ``work(fuser, *item)``, several at once.

    Each of this process's devices has one item at a time. Closed early, it starts no more items.
    """
    devices = [fuser.device] if fuser.device else jax.local_devices()
    if len(devices) == 1:
        for item in items:
            yield functools.partial(work, fuser, *item)
        return
    idle: queue.SimpleQueue[Fuser] = queue.SimpleQueue()
    for device in devices:
        idle.put(fuser.on(device, devices_in_one_memory()))

    def work_on_idle(*item: Any) -> Any:
        fuser = idle.get()
        try:
            return work(fuser, *item)
        finally:
            idle.put(fuser)

    executor = concurrent.futures.ThreadPoolExecutor(len(devices))
    try:
        for task in [executor.submit(work_on_idle, *item) for item in items]:
            yield task.result
    finally:
        executor.shutdown(cancel_futures=True)


def fuse_file(fuser: Fuser, pair: Pair, out: Path, treatment: Treatment = AS_THEY_ARE) -> Outcome:
    """Fuse a pair's files to the file ``out``.

    Raises:
        InputError: a file cannot be read, or the sizes differ or are below 2x2.
    """
    photos = read_pair(pair, treatment.resize)
    with naming(pair.name):
        shift = measure_shift(*(levels.network_input(photo.pixels) for photo in photos))
        found = shift if shift and shift.is_misregistered else None
        warning = found.warning if found else None
        if found and treatment.align:
            photos = aligned(photos, found)
            height, width = photos.visible.pixels.shape[:2]
            warning = (
                f"the infrared image was moved by {-found.right} right and {-found.down} down, and "
                f"both cropped to the {width}x{height} pixels that they share"
            )
        fused = fuser.fuse_pair(photos.visible.pixels, photos.infrared.pixels)
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
        notes=notes_on(pair, photos, fuser.percentiles),
        warning=warning,
        shift=found and (found.right, found.down),
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
