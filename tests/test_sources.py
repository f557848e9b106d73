import subprocess
import sys

import h5py
import numpy as np
import pytest
from PIL import Image
from stored import write_pairs, write_patches

from cddfuse_jax import config as configs
from cddfuse_jax.data.pipeline import batches, make_sources, open_sources
from cddfuse_jax.data.sources import SyntheticPairs
from cddfuse_jax.data.stored_pairs import H5Patches
from cddfuse_jax.errors import InputError
from cddfuse_jax.images.image_files import write_png
from cddfuse_jax.images.ranges import AUTO, parse_range
from cddfuse_jax.pairs.find import Pair
from cddfuse_jax.pairs.read import read_pair


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


def test_training_reads_the_pixels_that_are_fused(tmp_path):
    deep = np.random.default_rng(0).integers(7000, 7300, (20, 24)).astype(np.uint16)
    for side, pixels in (("vi", np.full((20, 24), 90, np.uint8)), ("ir", deep)):
        (tmp_path / side).mkdir()
        Image.fromarray(pixels).save(tmp_path / side / "a.png")
    data = configs.release().data
    data.source, data.visible, data.infrared = "folders", *(str(tmp_path / s) for s in ("vi", "ir"))
    for text, ends in (("", np.percentile(deep, (0.1, 99.9))), ("7100:7200", (7100, 7200))):
        data.range_ir = text
        infrared = open_sources(data)[0][0]["infrared"][..., 0]
        expected = np.clip((deep.astype(float) - ends[0]) / (ends[1] - ends[0]), 0, 1)
        np.testing.assert_allclose(infrared, expected, atol=1e-6)
        ranges = (AUTO, parse_range(text or "auto", "--range-ir"))
        read = read_pair(Pair("a", tmp_path / "vi/a.png", tmp_path / "ir/a.png"), None, ranges)
        np.testing.assert_array_equal(infrared, read.grey[1])
    data.range_ir = "9:1"
    with pytest.raises(InputError, match=r"data.range_ir is auto, two percentiles LOW,HIGH"):
        open_sources(data)


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


def test_synthetic_pairs_differ_by_index():
    source = SyntheticPairs(4, 32, 48)
    images = [source[index]["visible"] for index in range(4)]
    assert all(image.shape == (32, 48, 1) and image.dtype == np.float32 for image in images)
    assert len({image.tobytes() for image in images}) == 4
    with pytest.raises(InputError, match="got 0, 32 and 32"):
        SyntheticPairs(0, 32, 32)


def test_open_sources_follows_the_config(tmp_path):
    path = write_patches(tmp_path / "patches.h5", count=2)
    _, visible, infrared = write_pairs(tmp_path, [(8, 8)] * 3)
    data = configs.release().data
    data.update(visible=str(visible), infrared=str(infrared), file=str(path))
    data.update(count=5, height=16, width=24)
    lengths = {}
    for data.source in ("folders", "hdf5", "synthetic"):
        lengths[data.source] = len(open_sources(data)[0])
    assert lengths == {"folders": 3, "hdf5": 2, "synthetic": 5}
    assert open_sources(data)[0][0]["visible"].shape == (16, 24, 1)
    data.source, data.file = "hdf5", ""
    with pytest.raises(InputError, match=r"needs data\.file: set --config\.data\.file=PATH"):
        open_sources(data)


def test_a_locked_file_says_so(tmp_path):
    path = write_patches(tmp_path / "patches.h5", count=2)
    program = "import h5py, sys; f = h5py.File(sys.argv[1], 'a'); print(flush=True); input()"
    command = [sys.executable, "-c", program, str(path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        with pytest.raises(InputError) as caught:
            H5Patches(path)
    finally:
        holder.communicate(b"\n")
    assert str(caught.value) == (
        f"{path}: is locked by another program, or lies on a disk without locks; end that program, "
        "or set HDF5_USE_FILE_LOCKING=FALSE"
    )
    assert len(H5Patches(path)) == 2


def folders_config(tmp_path, **names):
    """A config of pairs in several folders; ``names`` by folder."""
    config = configs.release()
    for side in ("visible", "infrared"):
        for folder, members in names.items():
            for name in members:
                write_png(tmp_path / side / folder / f"{name}.png", np.zeros((16, 16), np.uint8))
        config.data[side] = ",".join(str(tmp_path / side / folder) for folder in names)
    config.data.source = "folders"
    return config


def test_several_folders_are_one_source_and_lists_choose_from_it(tmp_path):
    config = folders_config(tmp_path, **{"of,one": ["a"]})  # a folder whose name has a comma
    assert make_sources(config)[0].names == ["a"]
    config = folders_config(tmp_path, one=["a", "b", "c"], two=["c", "d", "d.1", "f"])
    training, held_out = make_sources(config)
    assert (training.names, held_out) == (["a", "b", "c", "c", "d", "d.1", "f"], None)
    (tmp_path / "held").write_text("b.jpg\n\nc\n")
    config.held_out.names = str(tmp_path / "held")
    training, held_out = make_sources(config)
    assert training.names == ["a", "d", "d.1", "f"]
    assert held_out.names == ["b", "c", "c"]
    config.held_out.every_nth = 4  # of each folder; one has only three
    assert make_sources(config)[1].names == ["b", "c", "c", "f"]
    config.held_out.count = 2
    assert make_sources(config)[1].names == ["b", "c"]
    (tmp_path / "some").write_text("a\nb\nd.1.png")
    config.data.names = str(tmp_path / "some")
    assert make_sources(config)[0].names == ["a", "d.1"]


def test_lists_that_do_not_fit_are_told(tmp_path):
    config = folders_config(tmp_path, one=["a", "b"])
    (tmp_path / "list").write_text("a\nx\ny")
    config.held_out.names = str(tmp_path / "list")
    with pytest.raises(InputError, match="2 of 3 names are not among the 2 pairs: x, y"):
        make_sources(config)
    (tmp_path / "list").write_text("a\nb")
    with pytest.raises(InputError, match="all 2 pairs are held out: none is left"):
        make_sources(config)
    config.data.visible += ",elsewhere"
    with pytest.raises(InputError, match="must name as many folders, got 2 and 1"):
        make_sources(config)
