import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_same_levels
from PIL import Image

from cddfuse_jax.errors import InputError
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.fusing.whole import make_fuse
from cddfuse_jax.images import levels
from cddfuse_jax.images.image_files import read_image, write_png
from cddfuse_jax.images.ranges import Percentiles
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.weights.identity import short_digest


@pytest.fixture(scope="module")
def fuser(tiny_params):
    return Fuser(tiny_params)


@pytest.fixture
def pair():
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (10, 12, 3), np.uint8), rng.integers(0, 256, (10, 12), np.uint8)


def test_grey_pairs_are_fused_as_the_release_does(tiny_params, pair):
    visible, infrared = pair[0][..., 1], pair[1]
    apply = jax.jit(CDDFuse.from_params(tiny_params).apply, static_argnames="method")
    inputs = (np.float32(x)[None, ..., None] / np.float32(255) for x in (visible, infrared))
    raw = np.asarray(apply({"params": tiny_params}, *inputs, method="fuse"))[0, ..., 0]
    expected = np.rint((raw - raw.min()) / (raw.max() - raw.min()) * 255)
    fused = Fuser(tiny_params, color="none")(visible, infrared)
    assert_same_levels(fused, expected.astype(np.uint8))  # of one shape and type, too
    assert (fused.min(), fused.max()) == (0, 255)


def test_colour_has_the_luma_of_the_grey_protocol(fuser, tiny_params, pair):
    grey = Fuser(tiny_params, color="none")(*pair)
    colour = fuser(*pair)
    assert grey.shape == (10, 12) and colour.shape == (10, 12, 3)
    np.testing.assert_allclose(colour @ np.array(levels.LUMA), grey, atol=1)
    np.testing.assert_array_equal(Fuser(tiny_params, color="infrared")(*pair), grey)


def test_types_and_shapes(fuser, pair):
    visible, infrared = pair
    as_floats = fuser(visible / 255.0, infrared)
    assert as_floats.dtype == np.float32 and as_floats.shape == (10, 12, 3)
    assert as_floats.min() >= 0 and as_floats.max() <= 1
    # Only the rounding of the 8-bit luma to a whole level lies between them.
    assert np.abs(as_floats * 255 - fuser(visible, infrared)).mean() < 2
    assert fuser(infrared, infrared).shape == (10, 12)
    deep = infrared.astype(np.uint16) * 3 + 7000
    assert fuser(visible, deep).dtype == np.uint8


def test_a_batch_is_what_its_pairs_are_one_by_one(fuser, pair):
    visible = np.stack([pair[0], pair[0][::-1], pair[0][:, ::-1]])
    infrared = np.stack([pair[1], pair[1], pair[1][::-1]])
    batch = fuser(visible, infrared)
    assert batch.shape == (3, 10, 12, 3) and batch.dtype == np.uint8
    for index in range(3):
        assert_same_levels(batch[index], fuser(visible[index], infrared[index]))
    assert fuser(infrared, infrared).shape == (3, 10, 12)
    grey_one = visible.copy()
    grey_one[1] = 90
    mixed = fuser(grey_one, infrared)
    assert mixed.shape == (3, 10, 12, 3)
    assert (mixed[1] == mixed[1][..., :1]).all()


def test_stretch_residual_and_percentiles_are_honoured(tiny_params, pair):
    visible, infrared = pair[0][..., 0], pair[1]
    plain = Fuser(tiny_params, stretch=False)
    values = np.float32(visible) / 255, np.float32(infrared) / 255
    raw = make_fuse(CDDFuse.from_params(tiny_params), tiny_params)(*values)
    np.testing.assert_array_equal(plain(visible, infrared), np.rint(raw * 255))
    summed = make_fuse(CDDFuse.from_params(tiny_params), tiny_params, "sum")(*values)
    assert np.abs(summed - raw).max() > 0.05
    as_sum = Fuser(tiny_params, "sum", stretch=False)
    np.testing.assert_array_equal(as_sum(visible, infrared), np.rint(summed * 255))
    deep = np.linspace(7000, 8000, 120).reshape(10, 12).astype(np.uint16)
    narrow = Fuser(tiny_params, stretch=False, percentiles=(20, 80))
    limits = levels.measured_range(deep, Percentiles(20, 80))
    expected = make_fuse(CDDFuse.from_params(tiny_params), tiny_params)(
        values[0], levels.intensities(deep, limits)
    )
    np.testing.assert_array_equal(narrow(visible, deep), np.rint(expected * 255))
    for wrong in ({"percentiles": (80, 20)}, {"percentiles": (0, 200)}, {"infrared_range": ""},
                  {"visible_range": (7000, 8000)}):  # fmt: skip
        with pytest.raises(InputError, match=f"{next(iter(wrong))} is auto, two percentiles LOW,"):
            Fuser(tiny_params, **wrong)


def test_a_constant_fused_image_keeps_its_value():
    flat = np.full((4, 5), 0.25, np.float32)
    np.testing.assert_array_equal(levels.stretched(flat), flat)
    ramp = np.linspace(0.2, 0.6, 5)
    np.testing.assert_allclose(levels.stretched(ramp), np.linspace(0, 1, 5), atol=1e-12)
    np.testing.assert_allclose(levels.stretched(ramp, (0.3, 0.5)), [0, 0, 0.5, 1, 1], atol=1e-12)


@pytest.mark.parametrize(
    ("visible", "infrared", "message"),
    [
        (
            (10, 12),
            (10, 13),
            "one size, the visible one is 12x10 and the infrared one is 13x10",
        ),
        ((10, 12), (2, 10, 12), r"two images or two batches of one length, got shapes \(10, 12\)"),
        ((3, 10, 12), (2, 10, 12), "of one length"),
        ((10, 12, 2, 5), (10, 12), r"visible must be HxW or HxWxC, .* got shape \(10, 12, 2, 5\)"),
        ((1, 12), (1, 12), "at least 2x2, got 12x1"),
        ((0, 4, 5), (0, 4, 5), "at least one image"),
        ((3, 10, 12), (10, 12), r"; put channels last: x\.transpose\(1, 2, 0\)$"),
        ((2, 3, 10, 12), (2, 10, 12), r"; put channels last: x\.transpose\(0, 2, 3, 1\)$"),
        ((12,), (12,), "must be HxW"),
    ],
)
def test_wrong_shapes_are_told(fuser, visible, infrared, message):
    with pytest.raises(InputError, match=message):
        fuser(np.zeros(visible, np.uint8), np.zeros(infrared, np.uint8))


def test_the_smallest_image_is_fused(fuser):
    smallest = np.array([[0, 80], [160, 240]], np.uint8)
    assert fuser(smallest, smallest).shape == (2, 2)


def test_wrong_values_and_options_are_told(fuser, tiny_params):
    grey = np.zeros((4, 4))
    with pytest.raises(InputError, match="must be finite, 16 of 16"):
        fuser(grey, grey * np.nan)
    with pytest.raises(InputError, match="array of real numbers, got complex"):
        fuser(grey, grey.astype(complex))
    with pytest.raises(InputError, match="color is one of auto, visible, infrared, none"):
        Fuser(tiny_params, color="red")
    with pytest.raises(InputError, match="residual is one of"):
        Fuser(tiny_params, "infrared")
    with pytest.raises(InputError, match="nowhere"):
        Fuser("nowhere")


def test_the_shapes_of_files_are_taken(fuser, pair):
    visible, infrared = pair
    grey = fuser(infrared, infrared)
    with_alpha = np.concatenate([visible, np.full_like(visible[..., :1], 9)], -1)
    for given in (infrared[..., None], Image.fromarray(infrared)):
        np.testing.assert_array_equal(fuser(given, given), grey)
    for given in (with_alpha, Image.fromarray(with_alpha), visible.tolist()):
        np.testing.assert_array_equal(
            fuser(np.asarray(given, np.uint8) if isinstance(given, list) else given, infrared),
            fuser(visible, infrared),
        )
    palette = Image.fromarray(visible).quantize(16)
    expected = fuser(np.asarray(palette.convert("RGB")), infrared)
    np.testing.assert_array_equal(fuser(palette, infrared), expected)


def test_it_tells_what_it_is_and_where_it_computes(tiny_params, tiny_weights, pair):
    fuser = Fuser(tiny_weights, residual="sum", device="cpu:0")
    told = repr(fuser)
    assert told.startswith(f"Fuser({tiny_weights.name} ({short_digest(tiny_params)}): ")
    assert "residual='sum'" in told and "device=" in told and "features" in told
    np.testing.assert_array_equal(fuser(*pair), Fuser(tiny_params, residual="sum")(*pair))
    changed = jax.tree.map(lambda leaf: leaf + 1, tiny_params)
    assert (
        short_digest(changed)
        != short_digest(tiny_params)
        == short_digest(jax.device_put(tiny_params))
    )
    with pytest.raises(InputError, match=r"named as cpu or gpu:1, got 'cpu:99'; here: cpu:0"):
        Fuser(tiny_params, device="cpu:99")


def test_a_folder_with_progress(fuser, tmp_path, pair):
    for name in "ab":
        for side, image in zip(("vi", "ir"), pair, strict=True):
            write_png(tmp_path / side / f"{name}.png", image)
    (tmp_path / "ir" / "b.png").write_text("no image")
    seen = []
    outcomes = fuser.folder(
        tmp_path / "vi", tmp_path / "ir", tmp_path / "out", format="tif", progress=seen.append
    )
    assert seen == outcomes and [outcome.pair.name for outcome in outcomes] == ["a", "b"]
    assert outcomes[0].error is None and outcomes[0].seconds > 0
    np.testing.assert_array_equal(read_image(outcomes[0].out), fuser(*pair))
    assert "b.png: not an image" in outcomes[1].error and not outcomes[1].out.exists()
    left = fuser.folder(
        tmp_path / "vi", tmp_path / "ir", tmp_path / "out", format="tif", skip_existing=True
    )
    assert [outcome.pair.name for outcome in left] == ["b"]


def test_two_flat_images_make_a_flat_one():
    fuser = Fuser("small")
    for visible, infrared in ((128, 128), (50, 200)):
        fused = fuser(np.full((24, 30), visible, np.uint8), np.full((24, 30), infrared, np.uint8))
        assert np.ptp(fused) == 0 and min(visible, infrared) - 5 < fused[0, 0] < 220
    orange = np.full((24, 30, 3), [200, 120, 40], np.uint8)
    fused = fuser(orange, np.full((24, 30), 90, np.uint8))
    assert (fused == fused[:1, :1]).all() and fused[0, 0, 0] > fused[0, 0, 2]


def test_params_come_as_they_are_saved_or_are_refused_in_a_line(fuser, tiny_params, pair):
    expected = fuser(*pair)
    np.testing.assert_array_equal(Fuser({"params": tiny_params})(*pair), expected)
    model = CDDFuse.from_params(tiny_params)
    np.testing.assert_array_equal(Fuser(tiny_params, model=model)(*pair), expected)
    lacking = {name: part for name, part in tiny_params.items() if name != "base_fusion"}
    for params, options, message in (
        (None, {}, "weights are a name such as 'ivf', a file, .* got NoneType"),
        ({"a": np.ones(3)}, {}, r"not the release's network's \(KeyError\('encoder'\)\); give the"),
        (
            lacking,
            {},
            r"base_fusion/.*; give the network that they are of, as Fuser\(params,",
        ),
        (tiny_params, {"model": CDDFuse()}, "the first that differs is .*; give the network that"),
    ):
        with pytest.raises(InputError, match=message) as error:
            Fuser(params, **options)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "visible is None; cv2.imread returns that for a file it cannot read"),
        ("a.png", "got the path a.png; give PIL.Image.open of it, or fuse files by Fuser.folder"),
        ([np.zeros((4, 4)), np.zeros((4, 5))], "a list of images of several sizes; fuse them one"),
        (np.ma.masked_all((4, 4)), "pixels must be finite, 16 of 16 values are not"),
    ],
)
def test_what_is_no_image_is_one_line(fuser, given, message):
    with pytest.raises(InputError, match=message):
        fuser(given, np.zeros((4, 4)))


def test_bfloat16_is_taken_as_floats(fuser, pair):
    visible, infrared = (jnp.asarray(side / 255, jnp.bfloat16) for side in pair)
    fused = fuser(visible, infrared)
    assert fused.dtype == np.float32
    expected = fuser(np.asarray(visible, np.float32), np.asarray(infrared, np.float32))
    np.testing.assert_array_equal(fused, expected)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_masked_pixels_are_no_data_as_in_a_tiff(fuser, pair, kind):
    visible = pair[0][..., 0]
    infrared = pair[1].astype(kind) / 255 if kind == np.float32 else pair[1].astype(kind)
    mask = np.zeros(infrared.shape, bool)
    mask[2:4, 3:6] = True
    filled = levels.picture(
        np.where(mask, np.nan, infrared / (255 if kind == np.uint8 else 1)).astype(np.float32)
    )
    assert np.isfinite(filled).all()
    fused = fuser(visible, np.ma.array(infrared, mask=mask))
    assert fused.dtype == (np.float32 if kind == np.float32 else np.uint8)
    expected = levels.to_8_bit(fuser(visible, filled))
    got = fused if fused.dtype == np.uint8 else levels.to_8_bit(fused)
    np.testing.assert_array_equal(got, expected)
    wild = infrared.copy()
    wild[mask] = 3 * infrared.max() if kind != np.uint8 else 255
    np.testing.assert_array_equal(fuser(visible, np.ma.array(wild, mask=mask)), fused)
    unmasked = np.ma.array(infrared, mask=False)
    np.testing.assert_array_equal(fuser(visible, unmasked), fuser(visible, infrared))


def test_a_pickled_fuser_fuses_the_same(tiny_params, pair):
    fuser = Fuser(tiny_params, color="none", device="cpu:0")
    again = pickle.loads(pickle.dumps(fuser))
    assert repr(again) == repr(fuser)
    np.testing.assert_array_equal(again(*pair), fuser(*pair))
