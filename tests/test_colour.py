import numpy as np
import pytest

from cddfuse_jax.images.colour import colour_source, is_coloured, with_chroma
from cddfuse_jax.images.levels import LUMA, to_8_bit


def chroma_of(rgb):
    """Cb and Cr of full-range BT.601, as one complex number per pixel."""
    red, green, blue = np.moveaxis(np.asarray(rgb, np.float64), -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return (blue - luma) / 1.772 + 1j * (red - luma) / 1.402


def naive(luma, source):
    """Chroma added and every channel clipped for itself, as most programs do."""
    return np.clip(luma[..., None] + source - (source @ np.array(LUMA))[..., None], 0, 1)


@pytest.fixture
def scene():
    """Saturated colours of every hue under a luma that is anything at all."""
    rng = np.random.default_rng(7)
    return rng.random((100, 120), np.float32), rng.random((100, 120, 3), np.float32)


def test_a_hand_computed_pixel():
    # Red: Y = 0.299, chroma (0.701, -0.299, -0.299). At luma 0.649 only 0.351 of room is left for
    # red, so that chroma is scaled by 0.351 / 0.701.
    fused = with_chroma(np.full((1, 1), 0.649), np.array([[[255, 0, 0]]], np.uint8))
    rest = 0.649 - 0.299 * 0.351 / 0.701
    np.testing.assert_allclose(fused, [[[1, rest, rest]]], atol=1e-6)


def test_hue_and_luma_stay_where_clipping_moves_them(scene):
    luma, source = scene
    before = chroma_of(source)
    wanted = naive(luma, source)
    overflow = (luma[..., None] + source - (source @ np.array(LUMA))[..., None] < 0).any(-1)
    overflow |= (luma[..., None] + source - (source @ np.array(LUMA))[..., None] > 1).any(-1)
    assert 0.4 < overflow.mean() < 0.6  # the test is about such pixels

    errors = {}
    for name, rgb in (("ours", with_chroma(luma, source)), ("naive", wanted)):
        assert rgb.min() >= 0 and rgb.max() <= 1
        after = chroma_of(rgb)
        seen = (np.abs(after) > 0.02) & (np.abs(before) > 0.02)  # grey has no hue
        turned = np.abs(np.angle(after * np.conj(before), deg=True))[seen]
        off = np.abs(rgb @ np.array(LUMA) - luma)
        errors[name] = turned.max(), np.percentile(turned, 95), off.max()
    assert errors["ours"][0] < 0.01 and errors["ours"][2] < 1e-6  # degrees, luma
    assert errors["naive"][1] > 10 and errors["naive"][2] > 0.2
    # Saturation only ever gives way, and not where there is room.
    ratio = np.abs(chroma_of(with_chroma(luma, source))) / np.abs(before)
    assert ratio.max() < 1 + 1e-4
    np.testing.assert_allclose(ratio[~overflow], 1, atol=1e-3)


def test_black_and_white_have_no_colour_and_an_unchanged_luma_gives_the_source():
    source = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    assert not with_chroma(np.zeros((9, 9)), source).any()
    assert (with_chroma(np.ones((9, 9)), source) == 1).all()
    own = (source / 255) @ np.array(LUMA)
    np.testing.assert_array_equal(to_8_bit(with_chroma(own, source)), source)


def test_what_counts_as_colour():
    grey = np.full((4, 4, 3), 100, np.uint8)
    tinted, coloured = grey.copy(), grey.copy()
    tinted[0, 0] = 100, 108, 104  # what JPEG may do to grey
    coloured[0, 0] = 100, 109, 100
    assert [is_coloured(x) for x in (grey, tinted, coloured)] == [False, False, True]
    assert not is_coloured(grey[..., 0])
    assert is_coloured(coloured.astype(np.uint16) * 257) and is_coloured(coloured / 255)


def test_whose_colour_is_taken():
    grey = np.zeros((2, 2), np.uint8)
    grey_rgb = np.zeros((2, 2, 3), np.uint8)
    red, blue = grey_rgb.copy(), grey_rgb.copy()
    red[..., 0] = blue[..., 2] = 200
    for visible, infrared, color, expected in (
        (red, grey, "auto", red),
        (grey_rgb, blue, "auto", blue),
        (red, blue, "auto", red),
        (grey, grey_rgb, "auto", None),
        (red, blue, "infrared", blue),
        (red, blue, "visible", red),
        (grey, blue, "visible", None),
        (red, blue, "none", None),
    ):
        assert colour_source(visible, infrared, color) is expected
