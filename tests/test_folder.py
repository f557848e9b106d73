"""A folder's pairs beside one accelerator: computed one at a time, while others are read."""

import threading
import time

import numpy as np
import pytest

from cddfuse_jax.fusing import folder
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.fusing.jobs import Job
from cddfuse_jax.images import image_files
from cddfuse_jax.images.pairs import Pair

COUNT = 4


@pytest.fixture
def pairs(tmp_path) -> list[Pair]:
    rng = np.random.default_rng(0)
    made = []
    for number in range(COUNT):
        files = [tmp_path / side / f"{number}.png" for side in ("vi", "ir")]
        for file in files:
            image_files.write_png(file, rng.integers(0, 256, (24, 20), np.uint8))
        made.append(Pair(str(number), *files))
    return made


@pytest.fixture(autouse=True)
def beside_an_accelerator(monkeypatch):
    monkeypatch.setattr(folder, "_pairs_at_once", lambda devices: len(devices) + 1)


@pytest.fixture
def read(monkeypatch) -> threading.Semaphore:
    """Released each time that a pair has been read."""
    counted, read_pair = threading.Semaphore(0), folder.read_pair

    def counting(*arguments):
        photos = read_pair(*arguments)
        counted.release()
        return photos

    monkeypatch.setattr(folder, "read_pair", counting)
    return counted


class Watched(Fuser):
    """Tells how many pairs were computed at a time, and whether another one was read meanwhile."""

    def __init__(self, params, read: threading.Semaphore, patience: float):
        super().__init__(params)
        self.read, self.patience = read, patience
        self.now, self.most, self.ahead = 0, 0, []

    def luma(self, *images, **limits):
        self.read.acquire()  # its own reading
        self.now += 1
        self.most = max(self.most, self.now)
        last = len(self.ahead) == COUNT - 1
        another = not last and self.read.acquire(timeout=self.patience)
        self.ahead.append(another)
        if another:
            self.read.release()
        self.now -= 1
        return super().luma(*images, **limits)


def test_the_next_pair_is_read_while_one_is_computed(tiny_params, pairs, read, tmp_path):
    fuser = Watched(tiny_params, read, patience=10)
    outs = [tmp_path / "out" / f"{pair.name}.png" for pair in pairs]
    outcomes = list(fuser.fuse(map(Job, pairs, outs)))
    assert [outcome.error for outcome in outcomes] == [None] * COUNT
    assert fuser.ahead == [True] * (COUNT - 1) + [False]
    assert fuser.most == 1


def test_files_of_large_images_are_not_held_beside_others(
    tiny_params, pairs, read, tmp_path, monkeypatch
):
    monkeypatch.setattr(folder, "LARGE", 24 * 20)
    fuser = Watched(tiny_params, read, patience=0.2)
    outs = [tmp_path / "out" / f"{pair.name}.png" for pair in pairs]
    outcomes = list(fuser.fuse(map(Job, pairs, outs)))
    assert [outcome.error for outcome in outcomes] == [None] * COUNT
    assert fuser.ahead == [False] * COUNT


def test_seconds_leave_out_what_other_pairs_computed(tiny_params, pairs, tmp_path):
    class Slow(Fuser):
        def luma(self, *images, **limits):
            time.sleep(0.5)
            return super().luma(*images, **limits)

    fuser = Slow(tiny_params)
    outs = [tmp_path / "out" / f"{pair.name}.png" for pair in pairs]
    fuser.luma(*(np.zeros((24, 20), np.uint8) for _ in range(2)))  # compiles
    started = time.monotonic()
    told = list(fuser.fuse(map(Job, pairs, outs)))
    assert [outcome.pair for outcome in told] == pairs
    # With the waits, each but the first would have half a second more.
    assert sum(outcome.seconds for outcome in told) < time.monotonic() - started + 1
