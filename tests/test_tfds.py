import sys

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image
from programs import ends

from cddfuse_jax.data import msrs, tfds_builder
from cddfuse_jax.data.pipeline import batches, open_sources
from cddfuse_jax.data.sources import FolderPairs
from cddfuse_jax.data.stored_pairs import TfdsPairs
from cddfuse_jax.errors import InputError

for module in ("tensorflow_datasets", "array_record", "importlib_resources"):
    pytest.importorskip(module, reason="needs the extra [tfds]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve training and two test pairs; one infrared in colour, one visible grey."""
    root, rng = tmp_path_factory.mktemp("msrs"), np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 2)):
        for side in ("vi", "ir"):
            (root / split / side).mkdir(parents=True)
        for number in range(count):
            height = 20 + 4 * (number % 2)
            infrared = rng.integers(0, 256, (height, 24), np.uint8)
            visible = rng.integers(0, 256, (height, 24, 3), np.uint8)
            if number == 3:
                infrared = rng.integers(0, 256, (height, 24, 3), np.uint8)
            if number == 5:
                visible = visible[..., 0]
            Image.fromarray(infrared).save(root / split / "ir" / f"{number}N.png")
            suffix = "bmp" if number == 7 else "png"
            Image.fromarray(visible).save(root / split / "vi" / f"{number}N.{suffix}")
    return root


@pytest.fixture(scope="module")
def directory(folder, tmp_path_factory):
    return msrs.build(folder, tmp_path_factory.mktemp("built"))


def test_the_dataset_gives_what_the_folder_gives(folder, directory):
    assert directory.parts[-2:] == ("msrs", "1.0.0")
    for split, count in (("train", 12), ("test", 2)):
        plain = FolderPairs(folder / split / "vi", folder / split / "ir")
        source = TfdsPairs(directory, split)
        assert len(source) == len(plain) == count
        assert [size[1:] for size in source.sizes] == [size[1:] for size in plain.sizes]
        for index in range(count):
            for name, image in plain[index].items():
                assert source[index][name].dtype == np.float32
                # A grey visible image is stored as colour: its luma is a sum, good to one rounding.
                off = 6e-8 if name == "visible" and plain.pairs[index].name == "5N" else 0
                np.testing.assert_allclose(source[index][name], image, rtol=0, atol=off)


def test_it_trains_without_tensorflow(directory):
    data = ConfigDict({"source": "tfds", "directory": str(directory), "split": "train"})
    dataset = batches(open_sources(data)[0], batch_size=4, seed=1, crop=16, flip=True)
    assert dataset[2]["visible"].shape == (4, 16, 16, 1)
    assert "tensorflow" not in sys.modules


def test_what_is_missing_is_named(folder, directory, tmp_path, capsys):
    with pytest.raises(InputError, match=r"no TFDS dataset with a split 'train' .*tfds_builder"):
        TfdsPairs(tmp_path)
    with pytest.raises(InputError, match="no TFDS dataset with a split 'validation'"):
        TfdsPairs(directory, "validation")
    with pytest.raises(InputError, match=r"needs data\.directory"):
        open_sources(ConfigDict({"source": "tfds", "directory": "", "split": "train"}))
    with pytest.raises(InputError, match="exists already"):
        msrs.build(folder, directory.parents[1])
    with pytest.raises(InputError, match="must hold train/vi and train/ir"):
        msrs.build(tmp_path, tmp_path)
    words = ["--data", tmp_path / "none", "--out", tmp_path]
    assert ends(tfds_builder.main, *words) == 2 and len(capsys.readouterr().err.splitlines()) == 1


def test_a_broken_pair_leaves_no_dataset(folder, tmp_path):
    for split in ("vi", "ir"):
        (tmp_path / "train" / split).mkdir(parents=True)
    source = folder / "train" / "vi" / "0N.png"
    (tmp_path / "train" / "vi" / "a.png").write_bytes(source.read_bytes())
    (tmp_path / "train" / "ir" / "a.png").write_text("no image")
    with pytest.raises(InputError, match=r"a\.png: not an image"):
        msrs.build(tmp_path, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
