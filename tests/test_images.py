import numpy as np
import pytest
from PIL import Image

from cddfuse_jax import images
from cddfuse_jax.commands import InputError, replacing


def save(path, array, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(array, np.uint8))
    (image.convert(mode) if mode else image).save(path)
    return path


def test_grey_is_weighted_and_rounded(tmp_path):
    # 0.299, 0.587 and 0.114 of: 255 each alone; 10, 20, 30 = 18.15; 1, 2, 3 = 1.815; white = 255.
    colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30], [1, 2, 3], [255, 255, 255]]
    file = save(tmp_path / "colour.png", [colours])
    grey = images.read_grey(file)
    assert grey.dtype == np.uint8
    assert grey.tolist() == [[76, 150, 29, 18, 2, 255]]


def test_half_is_rounded_to_even(tmp_path):
    # 0.114 * 250 = 28.5 and 0.299 * 250 = 74.75.
    file = save(tmp_path / "colour.png", [[[0, 0, 250], [250, 0, 0]]])
    assert images.read_grey(file).tolist() == [[28, 75]]


def test_luma_is_float32_and_not_rounded(tmp_path):
    luma = images.read_luma(save(tmp_path / "colour.png", [[[255, 0, 0], [51, 102, 204]]]))
    assert luma.dtype == np.float32
    # 0.2 * 0.299 + 0.4 * 0.587 + 0.8 * 0.114 = 0.3858
    np.testing.assert_allclose(luma, [[0.299, 0.3858]], rtol=0, atol=6e-8)
    grey = images.read_luma(save(tmp_path / "grey.png", [[0, 51, 255]]))
    np.testing.assert_array_equal(grey, np.float32([[0, 0.2, 1]]))


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "1"])
def test_other_8_bit_modes_are_read(tmp_path, mode):
    # Two levels only, which every mode can hold.
    file = save(tmp_path / "image.png", [[[0, 0, 0], [255, 255, 255]]], mode)
    assert images.read_grey(file).tolist() == [[0, 255]]


def test_16_bit_is_refused(tmp_path):
    Image.fromarray(np.full((2, 2), 40_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(InputError, match=r"deep\.png: 8-bit .* this one is I;16"):
        images.read_image(tmp_path / "deep.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_broken_files_are_named_in_one_line(tmp_path, suffix):
    file = save(tmp_path / f"image{suffix}", np.random.default_rng(0).integers(0, 256, (40, 50)))
    assert images.read_size(file) == (40, 50)
    file.write_bytes(file.read_bytes()[:-500])
    cases = [(file, "broken"), (tmp_path / f"gone{suffix}", "no such file")]
    text = tmp_path / f"text{suffix}"
    text.write_text("no image")
    cases.append((text, "not an image"))
    for path, message in cases:
        with pytest.raises(InputError, match=message) as caught:
            images.read_grey(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    for path, message in cases[1:]:
        with pytest.raises(InputError, match=message):
            images.read_size(path)


def test_pairs_are_found_by_stem_and_sorted(tmp_path):
    for name in ("b.png", "a.jpg", "10.png", "only.bmp", "notes.txt", ".hidden.png"):
        (tmp_path / "ir").mkdir(exist_ok=True)
        (tmp_path / "ir" / name).touch()
    for name in ("a.PNG", "b.png", "10.png", "2.png"):
        (tmp_path / "vi").mkdir(exist_ok=True)
        (tmp_path / "vi" / name).touch()
    pairs, only_infrared, only_visible = images.find_pairs(tmp_path / "ir", tmp_path / "vi")
    assert [pair.name for pair in pairs] == ["10", "a", "b"]
    assert pairs[1].infrared == tmp_path / "ir" / "a.jpg"
    assert pairs[1].visible == tmp_path / "vi" / "a.PNG"
    assert only_infrared == [tmp_path / "ir" / "only.bmp"]
    assert only_visible == [tmp_path / "vi" / "2.png"]


def test_two_images_of_one_stem_are_refused(tmp_path):
    for name in ("a.png", "a.jpg", "b.png"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"one image per name, found a\.jpg, a\.png; remove"):
        images.images_by_stem(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        images.images_by_stem(tmp_path / "none")


def test_sizes_of_a_pair_must_agree(tmp_path):
    pair = images.Pair(
        "scene",
        save(tmp_path / "ir.png", np.zeros((4, 6))),
        save(tmp_path / "vi.png", np.zeros((4, 6, 3))),
    )
    assert images.read_pair_size(pair) == (4, 6)
    images.check_same_size(pair, np.zeros((4, 6)), np.zeros((4, 6, 3)))
    save(pair.visible, np.zeros((6, 4)))
    for check in (
        lambda: images.read_pair_size(pair),
        lambda: images.check_same_size(pair, np.zeros((4, 6)), np.zeros((6, 4))),
    ):
        with pytest.raises(InputError, match=r"scene: .*ir\.png is 6x4 and .*vi\.png is 4x6"):
            check()


def test_png_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "new" / "fused.png"
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    images.write_png(file, image)
    np.testing.assert_array_equal(images.read_image(file), image)
    with pytest.raises(KeyboardInterrupt), replacing(file) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    np.testing.assert_array_equal(images.read_image(file), image)
    assert [path.name for path in file.parent.iterdir()] == ["fused.png"]
    with pytest.raises(InputError, match="cannot write"):
        images.write_png(file / "below.png", image)
