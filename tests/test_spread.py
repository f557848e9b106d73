"""A folder shared by devices and by shards: the files of one process on one device."""

import argparse
from pathlib import Path

import jax
import numpy as np
import pytest
from programs import run_together

from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.fusing.options import _shard
from cddfuse_jax.images import image_files

pytestmark = pytest.mark.slow
NAMES = tuple("abcdefg")
SIZES = ((41, 44), (44, 41))  # two programs
BAD = "c"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """Seven grey pairs of two sizes; one infrared file is no image, and one has no partner."""
    root = tmp_path_factory.mktemp("spread")
    rng = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        for kind in ("vi", "ir"):
            pixels = rng.integers(0, 256, SIZES[number % 2], np.uint8)
            image_files.write_png(root / kind / f"{name}.png", pixels)
    image_files.write_png(root / "vi" / "alone.png", np.zeros((41, 44), np.uint8))
    (root / "ir" / f"{BAD}.png").write_bytes(b"no picture")
    return root


def fuse_command(folders: Path, weights: Path, out: Path) -> list[str]:
    command = ["-m", "cddfuse_jax.fuse", "--weights", str(weights), "--out", str(out)]
    return [*command, "--vi", str(folders / "vi"), "--ir", str(folders / "ir")]


@pytest.fixture(scope="module")
def alone(folders, tiny_weights) -> dict[str, bytes]:
    """What one process on one device writes."""
    codes, texts, errors = run_together(fuse_command(folders, tiny_weights, folders / "alone"))
    assert codes == [1], errors
    assert "6 fused, 2 failed" in texts[0]
    return {path.name: path.read_bytes() for path in (folders / "alone").iterdir()}


def test_three_devices_write_what_one_does(folders, tiny_weights, alone):
    out = folders / "devices"
    codes, texts, errors = run_together(fuse_command(folders, tiny_weights, out), devices=3)
    assert codes == [1], errors
    assert "6 fused, 2 failed" in texts[0]
    assert sorted(alone) == [f"{name}.png" for name in NAMES if name != BAD]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == alone


def test_shards_together_write_what_one_process_does(folders, tiny_weights, alone):
    out, texts = folders / "shards", []
    for shard in ("1/2", "0/2"):
        command = [*fuse_command(folders, tiny_weights, out), f"--shard={shard}"]
        codes, said, errors = run_together(command)
        assert codes == [int(shard == "0/2")], errors  # the bad pair and the lone file are its
        texts += said
    assert "3 fused, 0 failed" in texts[0] and "3 fused, 2 failed" in texts[1]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == alone


@pytest.mark.parametrize("text", ["2/2", "1", "-1/2", "a/b", "0/0"])
def test_what_is_no_shard_is_refused(text):
    assert _shard("3/4") == (3, 4)
    with pytest.raises(argparse.ArgumentTypeError, match="I/N with I from 0 to N-1, got"):
        _shard(text)


def test_a_fuser_on_another_device_gives_the_same(tiny_params):
    rng = np.random.default_rng(1)
    pair = rng.integers(0, 256, (2, 16, 18), np.uint8)
    fuser = Fuser(tiny_params)
    np.testing.assert_array_equal(fuser.on(jax.devices()[-1], 3)(*pair), fuser(*pair))
