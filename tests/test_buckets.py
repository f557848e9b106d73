"""Many sizes in few compilations: the plan, and images in buckets against the formulas."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_same_levels
from test_streaming import DEEP, draw_pair, formula, params  # noqa: F401

from cddfuse_jax.fusing import buckets, memory, whole
from cddfuse_jax.fusing.buckets import fuse_in_bucket, plan
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.fusing.jobs import Job
from cddfuse_jax.fusing.whole import make_fuse
from cddfuse_jax.images import image_files
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.models.extent import Corner, of_arrays
from cddfuse_jax.pairs.find import find_pairs
from cddfuse_jax.pairs.read import sizes_of

pytestmark = pytest.mark.slow


def shapes_of(sizes, chosen):
    """The shapes that are compiled for: buckets, and sizes that have none."""
    return {chosen.get(size, size) for size in sizes}


def test_few_shapes_hold_thousands_of_sizes_with_little_padding():
    sizes = [(100 + i, 100 + 3 * j) for i in range(60) for j in range(60)]
    chosen = plan(sizes)
    assert len(shapes_of(sizes, chosen)) == 6
    for (height, width), shape in chosen.items():
        assert height <= shape[0] and width <= shape[1]
        fitting = [s for s in set(chosen.values()) if height <= s[0] and width <= s[1]]
        assert math.prod(shape) == min(map(math.prod, fitting))
    padded = sum(math.prod(chosen.get(size, size)) for size in sizes)
    assert padded < 1.4 * sum(map(math.prod, sizes))


def test_a_folder_of_one_size_is_left_alone():
    assert plan([]) == {}
    assert plan([(480, 640)] * 9) == {}
    # Images too different to share one: 640x480 more than ten times padded to 3840x2160.
    assert plan([(480, 640)] * 9 + [(2160, 3840)]) == {}


def test_sizes_merge_where_padding_costs_less_than_compiling(monkeypatch):
    sizes = [(480, 640), (481, 640)]
    assert plan(sizes) == dict.fromkeys(sizes, (481, 640))
    monkeypatch.setattr(buckets, "COMPILING_PIXELS", 639)
    assert plan(sizes) == {}
    # Many images weigh more: rather the other two are merged.
    sizes = [(100, 100)] * 50 + [(100, 110), (100, 125)]
    assert plan(sizes, most=2) == dict.fromkeys([(100, 110), (100, 125)], (100, 125))


def test_no_bucket_is_larger_than_memory_allows():
    sizes = [(100, 30), (30, 100), (90, 40), (200, 200)]
    for most_pixels in (4000, 4500):
        chosen = plan(sizes, most=1, most_pixels=most_pixels)
        assert chosen == dict.fromkeys([(100, 30), (90, 40)], (100, 40))
    assert plan(sizes, most=1, most_pixels=3999) == {}


BUCKET = 10, 7


# The smallest, one inside, one as high as the bucket: those whose formulas test_streaming compiles.
@pytest.mark.parametrize(
    ("size", "residual"),
    [((2, 2), "visible"), ((3, 5), "sum"), ((10, 3), "visible"),
     pytest.param((3, 5), "none", marks=pytest.mark.long)],
    ids=str,
)  # fmt: skip
def test_a_bucket_gives_the_whole_image(x64, params, size, residual):  # noqa: F811
    pair = draw_pair(size)
    fused = fuse_in_bucket(DEEP, {"params": params}, *pair, residual, BUCKET)
    assert fused.dtype == np.float64 and fused.shape == size
    np.testing.assert_allclose(fused, formula(params, *pair)[residual], rtol=0, atol=1e-12)


def test_what_lies_beyond_is_not_seen(x64, params):  # noqa: F811
    """Not even if it is no number, which would show in any sum or product that saw it."""
    pair = draw_pair((3, 5))
    inside = np.zeros((*BUCKET, 1), bool)
    inside[:3, :5] = True

    class Spoilt(Corner):
        def border(self, x, mode="constant"):
            return super().border(jnp.where(inside, x, jnp.nan), mode)

    padded = np.zeros((2, 1, *BUCKET, 1))
    padded[:, 0, :3, :5, 0] = pair
    with of_arrays(Spoilt(3, 5)):
        fused = jax.jit(lambda *images: DEEP.apply({"params": params}, *images, "sum"))(*padded)
    clean = formula(params, *pair)["sum"]
    np.testing.assert_allclose(np.asarray(fused)[0, :3, :5, 0], clean, rtol=0, atol=1e-12)


@pytest.mark.optimized
def test_buckets_of_the_release_network_are_within_its_yardstick(release_params):
    golden = np.load(Path(__file__).parent / "golden" / "forward.npz")
    for size in ("odd", "wide"):
        pair = (golden[f"{size}/{name}"].squeeze() for name in ("vis", "ir"))
        variables = {"params": release_params}
        fused = fuse_in_bucket(CDDFuse(), variables, *pair, "visible", (124, 124))
        error = abs(np.float64(fused) - golden[f"{size}/truth/fused_visible_residual"].squeeze())
        assert error.max() <= 1.5 * golden[f"{size}/f32_error/fused_visible_residual"], size


@pytest.fixture
def folder(tmp_path):
    """50 pairs in 48 sizes."""
    rng = np.random.default_rng(0)
    for i in range(50):
        height, width = 32 + i % 48, 75 + 7 * i % 48
        for side in ("vi", "ir"):
            noise = rng.integers(0, 256, (height, width), np.uint8)
            image_files.write_png(tmp_path / side / f"{i:02}.png", noise)
    return tmp_path


@pytest.mark.long
def test_a_folder_of_48_sizes_compiles_six_times(folder, tiny_params, monkeypatch):
    monkeypatch.setattr(buckets, "COMPILING_PIXELS", 0)
    pairs = find_pairs(folder / "vi", folder / "ir").pairs
    assert len(set(sizes_of(pairs))) == 48
    compiled = (buckets._fuse, whole._compiled(CDDFuse.from_params(tiny_params), "visible"))
    before = sum(function._cache_size() for function in compiled)
    files = [folder / "out" / f"{pair.name}.png" for pair in pairs]
    jobs = list(map(Job, pairs, files))
    assert sum(each.error is None for each in Fuser(tiny_params).fuse(jobs)) == 50
    assert sum(function._cache_size() for function in compiled) - before == 6
    pair = (image_files.read_image(file) for file in (pairs[24].visible, pairs[24].infrared))
    alone, together = Fuser(tiny_params)(*pair), image_files.read_image(files[24])
    assert_same_levels(together, alone)


def test_a_pair_that_cannot_be_read_does_not_spoil_the_plan(tmp_path):
    for name, vi, ir in (("a", (9, 8), (9, 8)), ("b", (9, 8), (7, 8)), ("c", (6, 5), (6, 5))):
        image_files.write_png(tmp_path / "vi" / f"{name}.png", np.zeros(vi, np.uint8))
        image_files.write_png(tmp_path / "ir" / f"{name}.png", np.zeros(ir, np.uint8))
    (tmp_path / "ir" / "c.png").write_bytes(b"no image")
    pairs = find_pairs(tmp_path / "vi", tmp_path / "ir").pairs
    assert sizes_of(pairs) == [(9, 8)]
    assert sizes_of(pairs[:2], "infrared") == [(9, 8), (9, 8)]
    assert sizes_of(pairs[:2], "visible") == [(9, 8), (7, 8)]


def test_what_was_not_expected_or_does_not_fit_is_fused_as_ever(tiny_params, monkeypatch):
    pair = np.float32(draw_pair((9, 6)))
    plain = make_fuse(CDDFuse.from_params(tiny_params), tiny_params)(*pair)
    np.testing.assert_array_equal(
        make_fuse(CDDFuse.from_params(tiny_params), tiny_params)(*pair, None), plain
    )
    fuser = Fuser(tiny_params, stretch=False)
    fuser.expect([(5, 5), (5, 6)])
    np.testing.assert_array_equal(fuser(*pair), plain)
    # A bucket that memory does not hold is left aside; here the image itself fits.
    monkeypatch.setattr(memory, "PROGRAM_BYTES", 0)
    limit = memory.whole_arrays() * 8 * 4 * 9 * 6
    monkeypatch.setattr(whole, "fuse_in_bucket", None)
    np.testing.assert_array_equal(
        make_fuse(CDDFuse.from_params(tiny_params), tiny_params, max_memory=limit)(*pair, (9, 7)),
        plain,
    )
