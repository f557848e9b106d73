import numpy as np
import pytest
from stored import assert_equal, write_pairs

from cddfuse_jax.data.pipeline import batches, prefetch, steps_per_epoch
from cddfuse_jax.data.sources import SyntheticPairs
from cddfuse_jax.errors import InputError


class Numbered:
    """Pairs whose pixels say which pair (hundreds) and which pixel of 4x4 (units) they are."""

    sizes = (("numbered", 4, 4),)

    def __init__(self, count=6):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        image = 100 * index + np.arange(16, dtype=np.float32).reshape(4, 4, 1)
        return {"visible": image, "infrared": image + 0.5}


def owners_of(dataset, steps):
    first_pixels = np.concatenate([dataset[step]["visible"][:, 0, 0, 0] for step in steps])
    return (first_pixels // 100).astype(int).tolist()


def test_every_epoch_holds_every_pair_in_another_order():
    dataset = batches(Numbered(6), batch_size=2, seed=0)
    epochs = [owners_of(dataset, range(3 * epoch, 3 * epoch + 3)) for epoch in range(5)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) >= 4


def test_remainder_is_dropped_and_crops_per_pair_lengthen_the_epoch():
    assert steps_per_epoch(Numbered(6), 4) == 1
    assert steps_per_epoch(Numbered(6), 4, crops_per_pair=3) == 4
    dataset = batches(Numbered(6), batch_size=4, seed=0, crops_per_pair=3)
    seen = owners_of(dataset, range(4))  # 16 of the 18 of an epoch
    counts = np.bincount(seen, minlength=6)
    assert counts.max() == 3 and counts.sum() == 16
    one = batches(Numbered(7), batch_size=3, seed=0)
    for epoch in range(3):  # no pair twice in an epoch: the seventh is not carried over
        assert len(set(owners_of(one, range(2 * epoch, 2 * epoch + 2)))) == 6


def test_crops_are_aligned_windows_drawn_evenly_and_anew():
    dataset = batches(Numbered(6), batch_size=6, seed=3, crop=2)
    corners = []
    for step in range(60):
        batch = dataset[step]
        assert batch["visible"].shape == (6, 2, 2, 1)
        np.testing.assert_array_equal(batch["infrared"], batch["visible"] + 0.5)
        window = batch["visible"][..., 0] - batch["visible"][:, :1, :1, 0]
        np.testing.assert_array_equal(window, np.tile([[0, 1], [4, 5]], (6, 1, 1)))
        corners += (batch["visible"][:, 0, 0, 0] % 100).astype(int).tolist()
    places, counts = np.unique(corners, return_counts=True)
    assert places.tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10]  # every window of 2x2 in 4x4
    assert counts.min() > 20 and counts.max() < 65  # 40 each on average, sigma 6


def test_flips_mirror_both_images_alike_half_of_the_time():
    dataset = batches(Numbered(8), batch_size=8, seed=5, flip=True)
    kinds = []
    for step in range(50):
        batch = dataset[step]
        np.testing.assert_array_equal(batch["infrared"], batch["visible"] + 0.5)
        kinds += (batch["visible"][:, 0, 0, 0] % 100).astype(int).tolist()
        np.testing.assert_array_equal(batch["visible"].sum((1, 2, 3)) % 16, 120 % 16)
    corners, counts = np.unique(kinds, return_counts=True)
    assert corners.tolist() == [0, 3, 12, 15]  # no, left-right, top-bottom, both
    assert counts.min() > 70 and counts.max() < 130  # 100 each on average, sigma 9


def test_a_batch_depends_on_seed_and_step_alone():
    def make(seed):
        return batches(Numbered(6), batch_size=3, seed=seed, crop=2, flip=True, crops_per_pair=2)

    first, again = make(1), make(1)
    backwards = {step: again[step] for step in (9, 4, 0, 100_000)}
    for step in (0, 4, 9, 100_000):
        assert_equal(first[step], backwards[step])
    assert any(not np.array_equal(first[s]["visible"], make(2)[s]["visible"]) for s in range(3))
    assert any(not np.array_equal(first[s]["visible"], first[s + 4]["visible"]) for s in range(4))


@pytest.mark.parametrize("hosts", [2, 4, 8])
def test_the_shares_of_any_number_of_hosts_are_the_batch_in_order(hosts):
    options = {"batch_size": 8, "seed": 5, "crop": 4, "flip": True}
    source = SyntheticPairs(24, 8, 8)
    whole = batches(source, **options)
    shares = [batches(source, **options, share=(i, hosts)) for i in range(hosts)]
    for step in (0, 2, 3, 7):  # of three epochs
        for name, images in whole[step].items():
            parts = [share[step][name] for share in shares]
            np.testing.assert_array_equal(np.concatenate(parts), images)


@pytest.mark.parametrize("threads", [1, 3])
def test_prefetch_gives_the_same_batches_from_any_step(threads):
    dataset = batches(Numbered(5), batch_size=2, seed=4, crop=3)
    iterator = prefetch(dataset, 7, threads=threads)
    for step in range(7, 20):
        assert_equal(next(iterator), dataset[step])


def test_prefetch_raises_the_readers_complaint(tmp_path):
    make, *folders = write_pairs(tmp_path, [(8, 8)] * 4)
    dataset = batches(make(*folders), batch_size=4, seed=0)
    bad = tmp_path / "vi" / "2.png"
    for spoil in (lambda: bad.write_bytes(b"gone bad"), bad.unlink):
        spoil()
        for read in (lambda: dataset[1], lambda: next(prefetch(dataset, 1))):
            with pytest.raises(InputError, match=r"vi/2\.png"):
                read()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 7}, "fill a batch, got 6 pairs times 1 crops for batch_size 7"),
        ({"crop": 5}, "crop of 5x5, numbered is 4x4"),
        ({"share": (0, 3)}, "multiple of the 3 processes"),
    ],
)
def test_wrong_settings_are_refused_at_once(wrong, message):
    with pytest.raises(InputError, match=message):
        batches(Numbered(6), **{"batch_size": 2, "seed": 0} | wrong)
