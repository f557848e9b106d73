import pickle

import grain
import h5py
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from cddfuse_jax.data.pipeline import batches, make_source, prefetch, steps_per_epoch
from cddfuse_jax.data.sources import FolderPairs, H5Patches, SyntheticPairs
from cddfuse_jax.errors import InputError


class Numbered:
    """Pairs whose pixels say which pair (hundreds) and which pixel of 4x4 (units) they are."""

    def __init__(self, count=6):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        image = 100 * index + np.arange(16, dtype=np.float32).reshape(4, 4, 1)
        return {"visible": image, "infrared": image + 0.5}

    def sizes(self):
        yield "numbered", 4, 4


def write_pairs(root, sizes, suffix=".png"):
    for folder in ("ir", "vi"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, (height, width) in enumerate(sizes):
        grey = np.full((height, width), 51 * number, np.uint8)
        Image.fromarray(grey).save(root / "ir" / f"{number}.png")
        colour = np.zeros((height, width, 3), np.uint8)
        colour[..., number % 3] = 255
        Image.fromarray(colour).save(root / "vi" / f"{number}{suffix}")
    return FolderPairs, root / "vi", root / "ir"


def write_patches(path, count=12, shape=(1, 8, 8), dtype=np.float32):
    with h5py.File(path, "w") as file:
        for offset, group in enumerate(("ir_patchs", "vis_patchs")):
            for number in range(count):
                value = np.full(shape, number / 100 + offset / 2, dtype)
                file.create_dataset(f"{group}/{number}", data=value)
    return path


def assert_equal(first, second):
    assert first.keys() == second.keys() == {"visible", "infrared"}
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def owners_of(dataset, steps):
    first_pixels = np.concatenate([dataset[step]["visible"][:, 0, 0, 0] for step in steps])
    return (first_pixels // 100).astype(int).tolist()


# Batches


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


def test_sources_and_batches_travel_to_other_processes(tmp_path):
    source = H5Patches(write_patches(tmp_path / "patches.h5"))
    source[0]  # opens the file here: the handle must not travel
    copy = pickle.loads(pickle.dumps(source))
    assert_equal(copy[3], source[3])
    dataset = batches(source, batch_size=4, seed=0, crop=4)
    assert_equal(pickle.loads(pickle.dumps(dataset))[5], dataset[5])
    assert isinstance(dataset, grain.MapDataset)


def test_prefetch_raises_the_readers_complaint(tmp_path):
    make, *folders = write_pairs(tmp_path, [(8, 8)] * 4)
    dataset = batches(make(*folders), batch_size=4, seed=0)
    (tmp_path / "vi" / "2.png").write_bytes(b"gone bad")
    for read in (lambda: dataset[1], lambda: next(prefetch(dataset, 1))):
        with pytest.raises(InputError, match=r"vi/2\.png"):
            read()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 7}, "fill a batch, got 6 pairs times 1 crops for batch_size 7"),
        ({"batch_size": 0}, "batch_size and crops_per_pair must be at least 1"),
        ({"crop": 5}, "crop of 5x5, numbered is 4x4"),
        ({"crop": -1}, "crop at least 0"),
        ({"crops_per_pair": 0}, "at least 1"),
        ({"seed": 2**32}, "seed must be from 0"),
    ],
)
def test_wrong_settings_are_refused_at_once(wrong, message):
    with pytest.raises(InputError, match=message):
        batches(Numbered(6), **{"batch_size": 2, "seed": 0} | wrong)


# Sources


def test_folders_are_read_as_luma_and_grey(tmp_path):
    make, *folders = write_pairs(tmp_path, [(3, 5)] * 3)
    source = make(*folders)
    assert len(source) == 3
    for number, weight in enumerate((0.299, 0.587, 0.114)):
        pair = source[number]
        assert pair["visible"].shape == pair["infrared"].shape == (3, 5, 1)
        assert pair["visible"].dtype == pair["infrared"].dtype == np.float32
        np.testing.assert_array_equal(pair["visible"], np.float32(weight))
        np.testing.assert_array_equal(pair["infrared"], np.float32(51 * number) / np.float32(255))


def test_folders_name_what_is_wrong(tmp_path, capsys):
    make, visible, infrared = write_pairs(tmp_path, [(8, 8), (8, 8), (6, 9)])
    with pytest.raises(InputError, match=r"2\.png is 9x6"):
        batches(make(visible, infrared), batch_size=1, seed=0, crop=7)
    with pytest.raises(InputError, match=r"one size, .*0\.png is 8x8 and .*2\.png is 9x6"):
        batches(make(visible, infrared), batch_size=1, seed=0)
    assert batches(make(visible, infrared), batch_size=3, seed=0, crop=6)[0]["visible"].shape == (
        (3, 6, 6, 1)
    )
    assert capsys.readouterr().err == ""
    Image.fromarray(np.zeros((8, 7), np.uint8)).save(infrared / "1.png")
    with pytest.raises(InputError, match=r"1: both images must have one size, .*8x8.*7x8"):
        make(visible, infrared)
    (infrared / "1.png").unlink()
    assert len(make(visible, infrared)) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors == [f"warning: 1 images have no partner and are left out: {visible / '1.png'}"]
    (visible / "0.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"0\.png: not an image"):
        make(visible, infrared)
    with pytest.raises(InputError, match="nowhere: no such folder"):
        make(tmp_path / "nowhere", infrared)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no pairs: .* found 2 images"):
        make(tmp_path / "empty", infrared)


def test_patches_come_in_numeric_order(tmp_path):
    source = H5Patches(write_patches(tmp_path / "patches.h5", count=12))
    assert len(source) == 12
    values = [source[index]["infrared"][0, 0, 0] for index in range(12)]
    np.testing.assert_array_equal(values, np.float32(np.arange(12) / 100))
    assert source[10]["visible"].shape == (8, 8, 1)
    assert source[10]["visible"][3, 3, 0] == np.float32(0.6)


def test_broken_patch_files_are_named(tmp_path):
    def refuses(message, name="patches.h5"):
        with pytest.raises(InputError, match=message) as caught:
            H5Patches(tmp_path / name)
        assert "\n" not in str(caught.value) and name in str(caught.value)

    refuses("no such file", "missing.h5")
    path = write_patches(tmp_path / "patches.h5")
    path.write_bytes(path.read_bytes()[:500])
    refuses("no HDF5 file that can be read")
    path.write_bytes(b"plain text")
    refuses("no HDF5 file that can be read")
    with h5py.File(path, "w") as file:
        file.create_group("ir_patchs")
    refuses("this file has ir_patchs; make it with")
    with h5py.File(write_patches(path), "a") as file:
        del file["vis_patchs/3"]
    refuses("found 11 visible and 12 infrared")
    write_patches(path, shape=(8, 8))
    refuses("must be 1xHxW and alike in both groups, patch 0 is 8x8 and 8x8")
    write_patches(path, dtype=np.uint8)
    refuses("must be floats")


def test_synthetic_pairs_differ_by_index_and_seed():
    first, second = SyntheticPairs(4, 32, 48), SyntheticPairs(4, 32, 48, seed=1)
    images = [source[index]["visible"] for source in (first, second) for index in range(4)]
    assert all(image.shape == (32, 48, 1) and image.dtype == np.float32 for image in images)
    assert len({image.tobytes() for image in images}) == 8
    with pytest.raises(InputError, match="got count 0"):
        SyntheticPairs(0, 32, 32)


def test_make_source_follows_the_config(tmp_path):
    path = write_patches(tmp_path / "patches.h5", count=2)
    _, visible, infrared = write_pairs(tmp_path, [(8, 8)] * 3)
    data = ConfigDict(
        {
            "source": "synthetic",
            "infrared": str(infrared),
            "visible": str(visible),
            "pair": "",
            "file": str(path),
            "count": 5,
            "height": 16,
            "width": 24,
        }
    )
    lengths = {}
    for data.source in ("folders", "hdf5", "synthetic"):
        lengths[data.source] = len(make_source(data))
    assert lengths == {"folders": 3, "hdf5": 2, "synthetic": 5}
    assert make_source(data)[0]["visible"].shape == (16, 24, 1)
    with pytest.raises(InputError, match="got 'hdf'; did you mean hdf5"):
        make_source(ConfigDict({"source": "hdf"}))
    data.source, data.file = "hdf5", ""
    with pytest.raises(InputError, match=r"needs data\.file: set --config\.data\.file=PATH"):
        make_source(data)
