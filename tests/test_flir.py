"""FLIR's radiometric JPEG as a pair. What flyr takes out of real files is put in its place here."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cddfuse_jax.errors import InputError
from cddfuse_jax.pairs.find import find_pairs, select_pairs
from cddfuse_jax.pairs.read import read_pair, read_pair_size
from cddfuse_jax.rigs.rig import rig_of

VISIBLE, THERMAL = (96, 128), (24, 32)
# The thermal camera sees half of the width, its middle 8 pixels to the left and 4 below.
PLACED = SimpleNamespace(real_to_ir=2.0, offset_x=-8, offset_y=4)


def write(path, flir=True):
    Image.new("RGB", (40, 30), (200, 30, 30)).save(path)
    content = path.read_bytes()
    segment = b"FLIR\0\1\0\0" + bytes(8)
    added = b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment
    path.write_bytes(content[:2] + added * flir + content[2:])
    return path


@pytest.fixture
def unpacked(monkeypatch):
    y, x = np.mgrid[: THERMAL[0], : THERMAL[1]]
    # Across the thermal image 16 to 47 degrees, as far as a visible pixel's half.
    found = SimpleNamespace(
        optical=np.dstack([np.tile(np.arange(128, dtype=np.uint8), (96, 1))] * 2
                          + [np.full(VISIBLE, 9, np.uint8)]),
        kelvin=x + 16 + 273.15 + 0 * y,
        pip_info=PLACED,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "flyr", SimpleNamespace(unpack=lambda path: found))
    return found


def test_both_images_come_out_of_one_file_where_the_camera_aligned_them(tmp_path, unpacked):
    file = write(tmp_path / "a.jpg")
    found = select_pairs(file, file)
    (pair,) = found.pairs
    images = read_pair(pair)
    # 64 of 128 visible pixels, from (128 - 64) / 2 - 8 on, but for those beyond the first middle.
    assert images.visible.pixels.shape[:2] == images.infrared.pixels.shape
    assert read_pair_size(pair) == images.infrared.pixels.shape
    columns = images.visible.pixels[0, :, 0]
    assert (columns[0], columns[-1]) == (25, 86) and not found.alone
    # Two visible pixels a thermal one: the visible column c shows (c - 24 - 0.5) / 2.
    low, high = images.infrared.limits
    degrees = images.infrared.pixels[0] * (high - low) + low
    expected = 16 + (columns.astype(float) - 24 - 0.5) / 2
    assert degrees == pytest.approx(expected, abs=0.05)
    assert "degrees Celsius" in images.infrared.notes[0]
    assert "the camera's alignment" in images.infrared.notes[-1]
    plain = read_pair(pair, rig_of(4.0, 0.0, (0, 0), VISIBLE, THERMAL))
    assert plain.visible.pixels.shape[1] > 100


def test_folders_of_such_files_are_pairs(tmp_path, unpacked):
    for name in "ab":
        write(tmp_path / f"{name}.jpg")
    found = find_pairs(tmp_path, tmp_path)
    assert [(p.name, p.visible == p.infrared) for p in found.pairs] == [("a", True), ("b", True)]
    write(tmp_path / "c.jpg", flir=False)
    with pytest.raises(InputError, match="the same folder for both sides"):
        find_pairs(tmp_path, tmp_path)


def test_what_has_no_two_images_is_refused(tmp_path, unpacked, monkeypatch):
    with pytest.raises(InputError, match="the same file for both sides"):
        select_pairs(*[write(tmp_path / "plain.jpg", flir=False)] * 2)
    file = write(tmp_path / "a.jpg")
    (pair,), *_ = select_pairs(file, file)
    unpacked.optical = None
    with pytest.raises(InputError, match=r"a\.jpg: holds no image of a visible camera"):
        read_pair(pair)
    monkeypatch.setitem(sys.modules, "flyr", SimpleNamespace())
    with pytest.raises(InputError, match="flyr cannot read it"):
        read_pair(pair)
    monkeypatch.setitem(sys.modules, "flyr", None)
    with pytest.raises(InputError, match=r"taken out by flyr: pip install .*\[flir\]"):
        read_pair(pair)
