"""A folder's pairs with one accelerator: one by one or in batches, while others are read."""

import threading

import jax
import numpy as np
import pytest
from agreement import assert_same_levels

from cddfuse_jax.fusing import folder, pair_files
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.fusing.jobs import Job
from cddfuse_jax.images import image_files
from cddfuse_jax.pairs.find import Pair

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
    monkeypatch.setattr(folder, "AHEAD", 0)


@pytest.fixture
def read(monkeypatch) -> threading.Semaphore:
    """Released each time that a pair has been read."""
    counted, read_pair = threading.Semaphore(0), pair_files.read_pair

    def counting(*arguments):
        photos = read_pair(*arguments)
        counted.release()
        return photos

    monkeypatch.setattr(pair_files, "read_pair", counting)
    return counted


class Watched(Fuser):
    """Tells how many pairs were computed at a time, and whether another one was read meanwhile."""

    def __init__(self, params, read: threading.Semaphore, patience: float):
        super().__init__(params)
        self.read, self.patience = read, patience
        self.now, self.most, self.ahead = 0, 0, []

    def fuse_grey(self, *images):
        self.read.acquire()  # its own reading
        self.now += 1
        self.most = max(self.most, self.now)
        last = len(self.ahead) == COUNT - 1
        another = not last and self.read.acquire(timeout=self.patience)
        self.ahead.append(another)
        if another:
            self.read.release()
        self.now -= 1
        return super().fuse_grey(*images)


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


@pytest.fixture
def by_threes(monkeypatch):
    """Let batches be of three, as on an accelerator."""
    monkeypatch.setattr(folder, "batch_size", lambda device, sizes: 3)


class Batched(Fuser):
    """Keeps how many pairs each batch had."""

    had: list[tuple[int, int]]

    def fuse_grey_batch(self, pairs, count=0):
        self.had = [*getattr(self, "had", []), (len(pairs), count)]
        return super().fuse_grey_batch(pairs, count)


def outcomes_of(fuser: Fuser, pairs: list[Pair], folder) -> dict[str, str | None]:
    jobs = [Job(pair, folder / f"{pair.name}.png") for pair in pairs]
    return {each.pair.name: each.error for each in fuser.fuse(jobs)}


def test_batches_give_what_single_pairs_do(tiny_params, pairs, tmp_path, request):
    fuser = Batched(tiny_params)
    assert outcomes_of(Fuser(tiny_params), pairs, tmp_path / "one") == dict.fromkeys("0123")
    request.getfixturevalue("by_threes")
    assert outcomes_of(fuser, pairs, tmp_path / "batch") == dict.fromkeys("0123")
    assert sorted(fuser.had) == [(1, 3), (3, 3)]  # the last is filled up: one program for both
    for name in "0123":
        one, batch = (
            image_files.read_image(tmp_path / how / f"{name}.png") for how in ("one", "batch")
        )
        assert_same_levels(batch, one)
        assert np.ptp(one) == 255


def test_what_cannot_be_read_costs_its_batch_nothing(tiny_params, pairs, tmp_path, by_threes):
    pairs[1].infrared.write_bytes(b"none")
    image_files.write_png(pairs[3].visible, np.zeros((10, 10), np.uint8))
    image_files.write_png(pairs[3].infrared, np.eye(10, dtype=np.uint8))
    fuser = Batched(tiny_params)
    found = outcomes_of(fuser, [pairs[3], *pairs[:3]], tmp_path / "out")
    assert "1.png" in found.pop("1")
    assert found == dict.fromkeys("023")  # of other sizes, one by one
    assert fuser.had == [(1, 3)]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["0.png", "2.png", "3.png"]


def test_images_that_are_too_small_are_each_pairs_error(tiny_params, pairs, tmp_path, by_threes):
    for file in (file for pair in pairs for file in (pair.visible, pair.infrared)):
        image_files.write_png(file, np.zeros((1, 20), np.uint8))
    found = outcomes_of(Batched(tiny_params), pairs, tmp_path / "out")
    assert [found[name].split(":")[0] for name in "0123"] == list("0123")


def test_small_images_of_one_size_are_batched_on_accelerators_alone():
    class Gpu:
        platform = "gpu"

    assert folder.batch_size(jax.local_devices()[0], [(480, 640)] * 9) == 1  # this CPU
    assert folder.batch_size(Gpu(), [(480, 640)] * 9) == 4
    assert folder.batch_size(Gpu(), [(480, 640)] * 3) == 1
    assert folder.batch_size(Gpu(), [(480, 640)] * 8 + [(480, 641)]) == 1
    assert folder.batch_size(Gpu(), [(1080, 1920)] * 9) == 1
    assert folder.batch_size(Gpu(), []) == 1
