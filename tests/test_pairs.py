import shutil

import numpy as np
import pytest
from PIL import Image

from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.errors import InputError
from cddfuse_jax.images import listing
from cddfuse_jax.images.levels import network_input
from cddfuse_jax.pairs import find, read
from cddfuse_jax.rigs.shift import measure_shift


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)
    return path


def test_pairs_are_found_by_stem_and_sorted(tmp_path):
    for name in ("b.png", "a.jpg", "10.png", "only.bmp", "notes.txt", ".hidden.png"):
        (tmp_path / "ir").mkdir(exist_ok=True)
        (tmp_path / "ir" / name).touch()
    for name in ("a.PNG", "b.png", "10.png", "2.png"):
        (tmp_path / "vi").mkdir(exist_ok=True)
        (tmp_path / "vi" / name).touch()
    found, only_visible, only_infrared, *_ = find.find_pairs(tmp_path / "vi", tmp_path / "ir")
    assert [pair.name for pair in found] == ["10", "a", "b"]
    assert found[1].visible == tmp_path / "vi" / "a.PNG"
    assert found[1].infrared == tmp_path / "ir" / "a.jpg"
    assert only_visible == [tmp_path / "vi" / "2.png"]
    assert only_infrared == [tmp_path / "ir" / "only.bmp"]


@pytest.mark.parametrize(
    "visible, infrared, names",
    [
        (["caf\u00e9"], ["cafe\u0301"], ["caf\u00e9"]),  # accents in both forms of Unicode
        (["00001", "00010"], ["1", "10"], ["00001", "00010"]),
        (["1", "10"], ["01", "10"], ["1", "10"]),
        (["1", "10", "11"], ["01", "10"], ["10"]),  # zeros count where not all go together
        (["a.b", "a.c"], ["a.c", "a.d"], ["a.c"]),
        (["A1", "b"], ["a01", "B"], ["A1", "b"]),
        (["a\nb", "c"], ["a\nb", "c"], ["a\nb", "c"]),
    ],
)
def test_names_that_are_written_otherwise_are_equal(tmp_path, visible, infrared, names):
    for side, stems in (("vi", visible), ("ir", infrared)):
        for stem in stems:
            save(tmp_path / side / f"{stem}.png", np.zeros((4, 4)))
    found = find.find_pairs(tmp_path / "vi", tmp_path / "ir")
    assert [pair.name for pair in found.pairs] == names
    assert all(pair.visible.exists() and pair.infrared.exists() for pair in found.pairs)


def test_thumbnails_of_a_nas_and_folders_are_no_images(tmp_path):
    save(tmp_path / "day" / "0.jpg", np.zeros((4, 4)))
    save(tmp_path / "day" / "@eaDir" / "0.jpg" / "THUMB.jpg", np.zeros((4, 4)))
    (tmp_path / "day" / "1.jpg").mkdir()
    for side in "vi", "ir":
        save(tmp_path / side / "0.png", np.zeros((4, 4)))
        save(tmp_path / side / "@eaDir" / "0.png", np.zeros((4, 4)))
    save(tmp_path / "ir" / "below" / "1.png", np.zeros((4, 4)))
    (note,) = find.find_pairs(tmp_path / "vi", tmp_path / "ir").notes
    assert note == f"{tmp_path / 'ir'}: 1 images in subfolders left out, as in below"
    shutil.rmtree(tmp_path / "vi"), shutil.rmtree(tmp_path / "ir")
    assert listing.images_within(tmp_path, deep=True) == {"day/0": tmp_path / "day" / "0.jpg"}


def test_a_broken_link_is_an_error_of_its_pair(tmp_path):
    for side in "vi", "ir":
        save(tmp_path / side / "0.png", np.zeros((4, 4)))
        (tmp_path / side / "1.png").symlink_to(tmp_path / f"lost-{side}.png")
    first, second = find.find_pairs(tmp_path / "vi", tmp_path / "ir").pairs
    read.read_pair(first)
    with pytest.raises(InputError, match=r"1\.png: no such file"):
        read.read_pair(second)


def test_advice_on_names_works_on_these(tmp_path):
    for side, stems in (("vi", "ab"), ("ir", "xy")):
        for stem in stems:
            save(tmp_path / side / f"{stem}.png", np.zeros((4, 4)))
    with pytest.raises(InputError, match=r"no pairs: .*; --pair '\*' '\*' pairs them"):
        find.select_pairs(tmp_path / "vi", tmp_path / "ir")
    pairs = find.select_pairs(tmp_path / "vi", tmp_path / "ir", find.Rule("*", "*")).pairs
    assert [pair.infrared.stem for pair in pairs] == ["x", "y"]
    save(tmp_path / "ir" / "z.png", np.zeros((4, 4)))
    with pytest.raises(InputError, match=r"; rename them, or give --pair with {}"):
        find.select_pairs(tmp_path / "vi", tmp_path / "ir")


def test_two_images_of_one_stem_are_refused(tmp_path):
    for name in ("a.png", "a.jpg", "b.png"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"one image per name, found a\.jpg, a\.png; remove"):
        listing.images_by_stem(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        listing.images_by_stem(tmp_path / "none")


def test_sizes_of_a_pair_must_agree(tmp_path):
    pair = find.Pair(
        "scene",
        save(tmp_path / "vi.png", np.zeros((4, 6, 3))),
        save(tmp_path / "ir.png", np.zeros((4, 6))),
    )
    assert read.read_pair_size(pair) == (4, 6)
    assert read.read_pair(pair).pixels[0].shape == (4, 6, 3)
    save(pair.visible, np.zeros((6, 4)))
    for check in (
        lambda: read.read_pair_size(pair),
        lambda: read.read_pair(pair),
    ):
        with pytest.raises(InputError, match=r"scene: .*vi\.png is 4x6 and .*ir\.png is 6x4"):
            check()


def test_one_image_is_resized_to_the_other(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 64), (32, 1))
    pair = find.Pair(
        "scene", save(tmp_path / "vi.png", np.zeros((64, 128, 3))), save(tmp_path / "ir.png", ramp)
    )
    with pytest.raises(
        InputError, match=r"128x64 and .*64x32; measure the rig by cddfuse register .*--resize"
    ):
        read.read_pair(pair)
    visible, infrared = read.read_pair(pair, "infrared")
    assert infrared.pixels.shape == (64, 128) and infrared.pixels.dtype == np.uint8
    # Bicubic resampling keeps a ramp, except at its ends.
    expected = (np.arange(128) + 0.5) / 2 * (255 / 63) - 0.5 * 255 / 63
    np.testing.assert_allclose(infrared.pixels[20, 6:-6], expected[6:-6], atol=1)
    assert (
        infrared.notes == ("resized from 64x32 to 128x64, as of one field of view",)
        and visible.notes == ()
    )
    visible, infrared = read.read_pair(pair, "visible")
    assert visible.pixels.shape == (32, 64, 3) and infrared.pixels.shape == (32, 64)


def test_resizing_to_another_shape_says_so_and_keeps_the_depth(tmp_path):
    deep = np.linspace(7000, 8000, 40 * 40).reshape(40, 40).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "ir.png")
    pair = find.Pair("s", save(tmp_path / "vi.png", np.zeros((40, 80))), tmp_path / "ir.png")
    photo = read.read_pair(pair, "infrared").infrared
    assert photo.pixels.dtype == np.float32 and photo.pixels.shape == (40, 80)
    assert photo.limits == tuple(np.percentile(deep, (0.1, 99.9))) and photo.depth == "16-bit"
    assert photo.pixels.min() == 0 and photo.pixels.max() == 1
    assert abs(photo.pixels.mean() - 0.5) < 1e-3 and len(np.unique(photo.pixels)) > 256
    assert "stretches its width by 2.00" in photo.notes[1]


@pytest.mark.parametrize(("right", "down"), [(12, -9), (-20, 3), (0, 15)])
def test_a_shift_of_a_scene_is_measured_to_the_pixel(right, down):
    visible, infrared = synthetic_pair(3, 240, 320)
    shifted = measure_shift(visible, np.roll(infrared, (down, right), (0, 1)))
    assert abs(shifted.right - right) <= 1 and abs(shifted.down - down) <= 1
    assert shifted.is_misregistered
    assert not measure_shift(visible, infrared).is_misregistered
    # Which side is brighter does not matter, nor does a constant factor.
    inverted = measure_shift(visible, 40 * np.roll(1 - infrared, (down, right), (0, 1)))
    assert (inverted.right, inverted.down) == (shifted.right, shifted.down)


def test_registered_scenes_raise_no_alarm_and_shifted_ones_do():
    quiet = loud = 0
    for seed in range(8):
        visible, infrared = synthetic_pair(seed, 200, 260)
        quiet += not measure_shift(visible, infrared).is_misregistered
        loud += measure_shift(visible, np.roll(infrared, 11, 1)).is_misregistered
    assert (quiet, loud) == (8, 8)


def test_large_images_are_measured_at_a_fraction_and_told_in_their_own_pixels():
    visible, infrared = synthetic_pair(1, 900, 1200)
    shift = measure_shift(visible, np.roll(infrared, 48, 1))
    assert abs(shift.right - 48) <= 4 and abs(shift.down) <= 4
    assert f"shifted by {shift.right} right and " in shift.warning


def test_noise_flat_and_tiny_images_have_no_shift():
    rng = np.random.default_rng(0)
    noise = rng.random((2, 120, 160))
    assert not measure_shift(*noise).is_misregistered
    assert measure_shift(noise[0], np.zeros((120, 160))) is None
    assert measure_shift(noise[0], np.full((120, 160), 0.3)) is None
    assert measure_shift(*noise[:, :20, :20]) is None


@pytest.mark.parametrize(
    ("folder", "sides", "expected"),
    [
        ("misregistered", "vi ir", ["00001D", "00007N", "00015N", "00025N", "00035N"]),
        # These two are 9 and 12 pixels off, as an overlay of their edges shows.
        ("TNO", "vi ir", ["01", "03"]),
        ("MRI_CT", "MRI CT", []),
    ],
)
def test_alarms_on_real_pairs(data, folder, sides, expected):
    visible, infrared = (data / folder / side for side in sides.split())
    found = find.find_pairs(visible, infrared).pairs
    alarms = []
    for pair in found if folder == "misregistered" else found[::2]:
        visible, infrared = (photo.pixels for photo in read.read_pair(pair))
        shift = measure_shift(network_input(visible), network_input(infrared))
        if shift.is_misregistered:
            alarms.append(pair.name)
    assert alarms == expected
