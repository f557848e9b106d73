"""A folder shared by devices and by shards: the files of one process on one device."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from agreement import assert_same_levels
from programs import ends, run_together

from cddfuse_jax.fuse import main
from cddfuse_jax.fusing.options import _shard
from cddfuse_jax.images import image_files

pytestmark = pytest.mark.slow
NAMES = tuple("abcdefg")
SIZE = (41, 44)
BAD = "c"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """Seven grey pairs; one infrared file is no image, and one has no partner."""
    root = tmp_path_factory.mktemp("spread")
    rng = np.random.default_rng(0)
    for name in NAMES:
        for kind in ("vi", "ir"):
            pixels = rng.integers(0, 256, SIZE, np.uint8)
            image_files.write_png(root / kind / f"{name}.png", pixels)
    image_files.write_png(root / "vi" / "alone.png", np.zeros(SIZE, np.uint8))
    (root / "ir" / f"{BAD}.png").write_bytes(b"no picture")
    return root


def fuse_command(folders: Path, weights: Path, out: Path, *more: str) -> list[str]:
    command = ["-m", "cddfuse_jax.fuse", "--weights", str(weights), "--out", str(out), *more]
    return [*command, "--vi", str(folders / "vi"), "--ir", str(folders / "ir")]


def test_devices_and_shards_write_what_one_process_on_one_device_does(
    folders, tiny_weights, capsys
):
    def here(out: str, *more: str) -> int:
        _, _, *words = fuse_command(folders, tiny_weights, folders / out, *more)
        return ends(main, *words)

    def written(out: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (folders / out).iterdir()}

    assert here("alone") == 1
    assert "6 fused, 2 failed" in capsys.readouterr().out
    assert sorted(written("alone")) == [f"{name}.png" for name in NAMES if name != BAD]

    command = fuse_command(folders, tiny_weights, folders / "devices")
    codes, texts, errors = run_together(command, devices=3)
    assert codes == [1], errors
    assert "6 fused, 2 failed" in texts[0]
    assert written("devices").keys() == written("alone").keys()
    for name in written("alone"):  # compiled for three devices, that is for fewer threads each
        one, other = (image_files.read_image(folders / x / name) for x in ("alone", "devices"))
        assert_same_levels(other, one)

    assert here("shards", "--shard=1/2") == 0
    assert "3 fused, 0 failed" in capsys.readouterr().out
    assert here("shards", "--shard=0/2") == 1  # the bad pair and the lone file are its
    assert "3 fused, 2 failed" in capsys.readouterr().out
    assert written("shards") == written("alone")


@pytest.mark.parametrize("text", ["2/2", "1", "-1/2", "a/b", "0/0"])
def test_what_is_no_shard_is_refused(text):
    assert _shard("3/4") == (3, 4)
    with pytest.raises(argparse.ArgumentTypeError, match="I/N with I from 0 to N-1, got"):
        _shard(text)
