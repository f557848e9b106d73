"""Fusing in strips against the formulas of the whole image, and the choice of strips."""

import functools
from pathlib import Path

import jax
import numpy as np
import pytest
import reference
from agreement import assert_fused
from numerics import QUICK, draw_params

from cddfuse_jax.errors import InputError
from cddfuse_jax.fusing import memory
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.fusing.strips import fuse_in_strips
from cddfuse_jax.fusing.whole import make_fuse
from cddfuse_jax.models import RESIDUALS
from cddfuse_jax.models.cddfuse import CDDFuse

pytestmark = pytest.mark.slow

DEEP = CDDFuse(features=8, heads=2, blocks=1, coupling_layers=2)
GIB = 2**30


def draw_pair(size):
    return np.random.default_rng(3).uniform(size=(2, *size))


@pytest.fixture(scope="module")
def params():
    return draw_params(DEEP, *np.zeros((2, 1, 2, 2, 1)))


@functools.cache
def compiled_formula():
    def fuse(params, *images):
        return [reference.fuse(params, *images, each)[0, ..., 0] for each in RESIDUALS]

    return jax.jit(fuse, compiler_options=QUICK)


def formula(params, visible, infrared):
    """The three fused images, by residual, in float64."""
    batches = [image[None, ..., None] for image in (visible, infrared)]
    images = jax.device_get(compiled_formula()(params, *batches))
    return dict(zip(RESIDUALS, images, strict=True))


# Heights that strips of 2, 3 or 7 rows do not divide, and strips taller than the image.
@pytest.mark.parametrize(
    ("size", "heights"), [((2, 2), (1, 3)), ((3, 5), (2,)), ((10, 3), (7,))], ids=str
)
def test_strips_give_the_whole_image(x64, params, size, heights):
    pair = draw_pair(size)
    truth = formula(params, *pair)
    assert abs(truth["visible"] - truth["none"]).max() > 0.05
    for rows in heights:
        for residual in RESIDUALS if size == (10, 3) else ("visible",):
            fused = fuse_in_strips(DEEP, {"params": params}, *pair, residual, rows)
            assert fused.dtype == np.float64
            np.testing.assert_allclose(fused, truth[residual], rtol=0, atol=1e-12)


@pytest.mark.long
@pytest.mark.optimized
def test_strips_are_as_exact_as_the_whole_image_in_float32(params):
    """Over many weights: rounding errors of single cases differ fourfold, in either direction.

    Logarithms of the ratio of both errors have a deviation of 0.7 and, whichever the instruction
    set, a mean near -0.1: of 64 cases the mean is known to 0.09, six of which make a factor of 1.7.
    """
    rng = np.random.default_rng(4)
    ratios = []
    for _ in range(64):
        shuffled = jax.tree.map(lambda x: np.float32(rng.permuted(x, axis=None)), params)
        pair = rng.uniform(size=(2, 9, 6)).astype(np.float32)
        with jax.enable_x64(True):  # the truth of what float32 is given
            wide = jax.tree.map(np.float64, (shuffled, *pair))
            truth = formula(*wide)["visible"]
        whole = make_fuse(DEEP, shuffled)(*pair)
        strips = fuse_in_strips(DEEP, {"params": shuffled}, *pair, "visible", 4)
        assert strips.dtype == np.float32 and strips.shape == (9, 6)
        whole_error, strips_error = (np.linalg.norm(x - truth) for x in (whole, strips))
        ratios.append(strips_error / whole_error)
    assert np.exp(np.mean(np.log(ratios))) < 1.5
    assert np.std(np.log(ratios)) > 0.1  # or they were no errors of rounding


@pytest.mark.optimized
@pytest.mark.parametrize(
    "residual",
    ["visible", *(pytest.param(each, marks=pytest.mark.long) for each in ("sum", "none"))],
)
def test_strips_of_the_release_network_are_within_its_yardstick(release_params, residual):
    golden = np.load(Path(__file__).parent / "golden" / "forward.npz")
    pair = (golden[f"odd/{name}"].squeeze() for name in ("vis", "ir"))
    fused = fuse_in_strips(CDDFuse(), {"params": release_params}, *pair, residual, 7)
    name = f"fused_{residual.replace('none', 'no')}_residual"
    error = abs(np.float64(fused) - golden[f"odd/truth/{name}"].squeeze()).max()
    assert error <= 1.5 * golden[f"odd/f32_error/{name}"]


@pytest.mark.optimized
@pytest.mark.parametrize("residual", ["visible", pytest.param("none", marks=pytest.mark.long)])
def test_half_strips_are_within_a_grey_level(release_params, residual):
    golden = np.load(Path(__file__).parent / "golden" / "forward.npz")
    pair = [golden[f"odd/{name}"].squeeze() for name in ("vis", "ir")]
    arguments = CDDFuse(), {"params": release_params}, *pair, residual, 7
    exact, half = (fuse_in_strips(*arguments, half) for half in (False, True))
    assert half.dtype == np.float32
    assert 1e-6 < abs(half - exact).max() < 0.5 / 255


def test_half_strips_take_half_the_memory():
    size = (2160, 3840, 64, 4)
    assert memory.strip_rows(*size, 6 * 10**9, half=True) == 64
    # 3 arrays of 2160 rows of 491,520 bytes; 5 rows of 17 arrays of 983,040; and the program.
    least = 700 * 10**6 + 3 * 2160 * 491520 + 5 * 17 * 983040
    assert memory.strip_rows(*size, least, half=True) == 1
    with pytest.raises(InputError, match="allow more by --max-memory or resize"):
        memory.strip_rows(*size, least - 1, half=True)
    with pytest.raises(InputError, match="give --half-strips or resize"):
        memory.strip_rows(*size, least)


def test_a_limit_makes_the_fuser_stream(tiny_params, monkeypatch):
    monkeypatch.setattr(memory, "PROGRAM_BYTES", 0)
    seen = []
    monkeypatch.setattr(
        "cddfuse_jax.fusing.whole.fuse_in_strips",
        lambda *arguments: seen.append(arguments[5]) or fuse_in_strips(*arguments),
    )
    visible, infrared = np.float32(draw_pair((27, 6)))
    whole = Fuser(tiny_params, stretch=False)(visible, infrared)
    assert not seen
    row = 8 * 4 * 6
    limit = int((memory.KEPT_ARRAYS * 27 + memory.STRIP_ARRAYS * (4 + 4)) * row)
    streamed = Fuser(tiny_params, stretch=False, max_memory=limit)(visible, infrared)
    assert seen == [4]
    # How near strips are to the whole image is tested above.
    model, variables = CDDFuse.from_params(tiny_params), {"params": tiny_params}
    expected = fuse_in_strips(model, variables, visible, infrared, "visible", 4)
    np.testing.assert_array_equal(streamed, expected)
    for fused in (whole, streamed):
        assert_fused(fused, model, tiny_params, visible, infrared)
    with pytest.raises(InputError, match=r"6x27 takes at least 0\.0 GiB, got a limit of 0\.0 GiB"):
        Fuser(tiny_params, max_memory="1kB")(visible, infrared)


def test_rows_follow_from_the_limit(monkeypatch):
    size = (2160, 3840, 64, 4)
    assert memory.strip_rows(*size, 64 * GIB) is None
    # 3 arrays of 2160 rows of 983,040 bytes are 5.9 GiB; strips share what is left.
    rows = {limit: memory.strip_rows(*size, limit * GIB) for limit in (7, 8, 20)}
    assert rows == {7: 16, 8: 64, 20: 64}
    with pytest.raises(InputError, match=r"3840x2160 takes at least 6\.7 GiB, got a limit of 6"):
        memory.strip_rows(*size, 6 * GIB)
    # Without a limit half of what is free counts, and only what is beyond all of it is refused.
    monkeypatch.setattr(memory, "available", lambda device: 48 * GIB)
    assert memory.strip_rows(480, 640, 64, 4, None) is None
    assert memory.strip_rows(*size, None) == memory.MOST_ROWS
    monkeypatch.setattr(memory, "available", lambda device: 7 * GIB)
    assert memory.strip_rows(*size, None) == 1
    monkeypatch.setattr(memory, "available", lambda device: 1 * GIB)
    with pytest.raises(InputError, match=r"takes at least 6\.0 GiB, 1\.0 are free; .*half-strips"):
        memory.strip_rows(*size, None)


def test_rows_and_whole_images_to_the_byte():
    size = (1000, 10**6, 1, 1)  # a row of one channel is a megabyte, the image a gigabyte
    program, whole = 700 * 10**6, memory.whole_arrays() * 10**9
    assert memory.WHOLE_ARRAYS_ON_CPU == 16
    assert memory.strip_rows(*size, program + whole) is None
    assert memory.strip_rows(*size, program + whole - 1) == 64
    # Three whole arrays, and 17 of the strip's 8 rows and of 4 rows of its neighbours.
    eight = program + 3 * 10**9 + 17 * 12 * 10**6
    assert memory.strip_rows(*size, eight) == 8
    assert memory.strip_rows(*size, eight - 1) == 4
    # Two at a time have half of it each.
    assert memory.strip_rows(*size, eight - program + eight, sharing=2) == 8
    assert memory.strip_rows(*size, eight - program + eight - 2, sharing=2) == 4


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GiB", 8 * GIB), ("8g", 8 * GIB), ("1.5 GB", 1.5e9), ("500MB", 5e8), ("6e9", 6e9)],
)
def test_sizes_are_read(text, size):
    assert memory.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "8XB", "-1GB", "0", "1.2.3GB", "GiB", "9e999"])
def test_what_is_no_size_is_told(tiny_params, text):
    with pytest.raises(InputError, match="as 8GiB or 500MB, got"):
        Fuser(tiny_params, max_memory=text)
