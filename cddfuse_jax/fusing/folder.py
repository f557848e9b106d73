"""Fusing many pairs of files: one failure costs one pair, and nothing is overwritten by chance.

Every device of this process is kept busy by a thread of its own.
"""

import concurrent.futures
import functools
import queue
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import jax

from cddfuse_jax.console import progress, report_error, report_notes, report_per_process
from cddfuse_jax.errors import InputError
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.fusing.memory import devices_in_one_memory
from cddfuse_jax.images import levels
from cddfuse_jax.images.image_files import naming, write_png
from cddfuse_jax.images.pair_photos import Resize, notes_on, read_pair, sizes_of
from cddfuse_jax.images.pairs import Pair
from cddfuse_jax.images.registration import measure_shift


def fuse_pairs(
    fuser: Fuser, pairs: list[Pair], files: list[Path], resize: Resize | None = None
) -> int:
    """Fuse each pair to its file and return how many came out.

    Failures and pairs that seem misregistered are told as they come, notes on how files were read
    at the end, all in the order of the pairs. Pairs of many sizes share a few compilations.
    """
    fuser.expect(sizes_of(pairs, resize))
    fused, notes = 0, defaultdict(list)

    def work(fuser: Fuser, pair: Pair, file: Path) -> tuple[dict[str, str], str | None]:
        return fuse_file(fuser, pair, file, resize)

    results = _over_devices(fuser, work, zip(pairs, files, strict=True))
    try:
        for pair, result in zip(progress(pairs, "fusing", unit="pair"), results, strict=True):
            try:
                found, warning = result()
            except InputError as error:
                report_error(str(error))
                continue
            fused += 1
            if warning:
                report_per_process(f"warning: {pair.name}: {warning}")
            for note, name in found.items():
                notes[note].append(name)
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
    devices = jax.local_devices()
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


def fuse_file(
    fuser: Fuser, pair: Pair, out: Path, resize: Resize | None = None
) -> tuple[dict[str, str], str | None]:
    """Fuse a pair's files to the PNG file ``out``.

    Returns:
        Notes on how the files were read (note -> file), and a warning if the pair seems to be
        misregistered.

    Raises:
        InputError: a file cannot be read, or the sizes differ or are below 2x2.
    """
    photos = read_pair(pair, resize)
    visible, infrared = photos.visible.pixels, photos.infrared.pixels
    with naming(pair.name):
        fused = fuser.fuse_pair(visible, infrared)
        shift = measure_shift(levels.network_input(visible), levels.network_input(infrared))
    write_png(out, levels.to_8_bit(fused))
    warning = shift.warning if shift and shift.is_misregistered else None
    return notes_on(pair, photos, fuser.percentiles), warning


def outputs(pairs: list[Pair], out: Path) -> list[Path]:
    """Return the file that each pair is fused to: ``out/NAME.png``, or ``out`` itself if a .png.

    Raises:
        InputError: outputs would lie among the inputs, or a folder of pairs is to become one file.
    """
    single = out.suffix.lower() == ".png" and not out.is_dir()
    if single and len(pairs) > 1:
        raise InputError(f"--out is a folder for {len(pairs)} pairs, got the file {out}")
    if not single and out.exists() and not out.is_dir():
        raise InputError(f"--out is a folder for fused images, {out} is a file; give another name")
    files = [out] if single else [out / f"{pair.name}.png" for pair in pairs]
    inputs = {path.resolve() for pair in pairs for path in (pair.visible, pair.infrared)}
    if len(pairs) > 1 and out.resolve() in {path.parent for path in inputs}:
        raise InputError(f"{out}: fused images must not lie among the inputs; name another --out")
    return files
