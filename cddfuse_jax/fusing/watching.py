"""Fusing pairs as they arrive in a camera's folders."""

import time
from collections.abc import Iterator
from pathlib import Path

from cddfuse_jax.errors import InputError
from cddfuse_jax.files import alone_in
from cddfuse_jax.fusing.folder import reported
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.fusing.jobs import Files, Job, Treatment, outputs
from cddfuse_jax.fusing.pair_files import Outcome
from cddfuse_jax.pairs.find import Pair, find_pairs, home

EVERY = 1.0  # seconds from look to look


def watch(
    fuser: Fuser, files: Files, treatment: Treatment, waits: Iterator[None] | None = None
) -> Iterator[Outcome]:
    """Fuse every pair whose output does not exist, and go on looking for new ones.

    A file counts as arrived when it is the same in two looks. A pair that failed is tried again
    when one of its files has changed. It looks once for each of ``waits``, by default every second.
    """
    for folder in (home(files.visible), home(files.infrared)):
        if not folder.is_dir():
            raise InputError(f"--watch looks into folders, {folder} is none")
    before: dict[Pair, object] = {}
    tried: dict[Pair, object] = {}
    with alone_in(files.out, "fuse"):
        for _ in waits or _a_look_a_second():
            for pair, out in _not_fused(files, treatment):
                state = [_state(file) for file in pair[1:]]
                if None not in state and before.get(pair) == state != tried.get(pair):
                    tried[pair] = state
                    yield from reported(fuser.fuse([Job(pair, out)], treatment), 1)
                before[pair] = state


def _a_look_a_second() -> Iterator[None]:
    while True:
        yield
        time.sleep(EVERY)


def _not_fused(files: Files, treatment: Treatment) -> list[tuple[Pair, Path]]:
    try:
        pairs = find_pairs(files.visible, files.infrared, files.rule).pairs
    except InputError:  # while only some have come, names may go together in several ways
        return []
    outs = outputs(pairs, files.out, treatment.format)
    return [(pair, out) for pair, out in zip(pairs, outs, strict=True) if not out.exists()]


def _state(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
