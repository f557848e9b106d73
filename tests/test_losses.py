import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numerics import starting_params

from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.training import losses
from cddfuse_jax.training.losses import correlation, decomposition


def image(rows) -> jax.Array:
    return jnp.asarray(rows, jnp.float32)[None, :, :, None]


def noise(seed: int, shape=(2, 9, 7, 3)) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def test_correlation_is_pearsons_per_sample_and_channel():
    a, b = noise(0), noise(1)
    expected = np.mean(
        [
            np.corrcoef(np.ravel(a[n, :, :, c]), np.ravel(b[n, :, :, c]))[0, 1]
            for n in range(2)
            for c in range(3)
        ]
    )
    assert float(correlation(a, b)) == pytest.approx(expected, abs=1e-6)
    assert float(correlation(a, 3 * a + 2)) == pytest.approx(1, abs=1e-5)
    assert float(correlation(a, -a)) == pytest.approx(-1, abs=1e-5)


def test_correlation_of_a_flat_feature_is_zero_with_a_finite_gradient():
    flat = jnp.full((1, 4, 4, 2), 0.5)
    value, gradient = jax.value_and_grad(correlation)(flat, noise(0, (1, 4, 4, 2)))
    assert float(value) == 0
    assert np.isfinite(gradient).all()


def test_correlation_of_faint_features_fades():
    # Norms whose product is float32's epsilon, which is added to it: half of 1.
    faint = jnp.array([1.0, -1, 1, -1]).reshape(1, 2, 2, 1) * np.sqrt(np.finfo(np.float32).eps / 4)
    assert float(correlation(faint, faint)) == pytest.approx(0.5, rel=1e-5)


def test_the_share_that_is_the_whole_batch_has_its_gradient():
    features = jnp.concatenate([noise(0), noise(1)]), jnp.concatenate([noise(2), noise(3)])

    def ratio(base, detail, of_whole_batch=None):
        return decomposition(base, detail, of_whole_batch)["decomposition"]

    expected = jax.grad(ratio, (0, 1))(*features)
    told = {name: decomposition(*features)[name] for name in ("cc_base", "cc_detail")}
    shared = jax.grad(ratio, (0, 1))(*features, lambda _: told)
    for ours, whole in zip(shared, expected, strict=True):
        assert abs(whole).max() > 0
        np.testing.assert_allclose(ours, whole, rtol=1e-6)


def test_decomposition_rewards_equal_base_and_unlike_detail():
    base, detail = noise(0), noise(1)
    agreeing = decomposition(jnp.concatenate([base, base]), jnp.concatenate([detail, base]))
    opposed = decomposition(jnp.concatenate([base, -base]), jnp.concatenate([detail, detail]))
    # 1²/(1.01 - 1) where base features oppose and detail features agree
    assert float(opposed["decomposition"]) == pytest.approx(100, rel=1e-3)
    cc = float(agreeing["cc_detail"])
    assert float(agreeing["decomposition"]) == pytest.approx(cc**2 / 2.01, rel=1e-5)


def test_spatial_gradient_loss_averages_both_directions():
    ramp = image(np.tile(np.arange(5.0), (4, 1)))
    # |d/dx| is 1 inside and 1/2 at both ends, |d/dy| is 0: mean over both is 0.4.
    assert float(losses.spatial_gradient_loss(ramp, 0 * ramp)) == pytest.approx(0.4)


def test_ssim_loss_is_its_formula():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.4, 0.6, (2, 7, 8))
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    wide = [np.pad(x, 5, mode="reflect") for x in (a, b)]
    expected = []
    for top in range(7):
        for left in range(8):
            x, y = (image[top : top + 11, left : left + 11] for image in wide)
            m, n = (window * x).sum(), (window * y).sum()
            v, w = (window * (x - m) ** 2).sum(), (window * (y - n) ** 2).sum()
            c = (window * (x - m) * (y - n)).sum()
            ssim = (2 * m * n + 1e-4) * (2 * c + 9e-4) / ((m * m + n * n + 1e-4) * (v + w + 9e-4))
            expected.append(min(1 - ssim, 1) / 2)
    # Variances are differences of means of 0.25, to some 1e-7, against 9e-4.
    assert float(losses.ssim_loss(image(a), image(b))) == pytest.approx(np.mean(expected), rel=1e-3)


def test_ssim_loss_of_opposed_images_is_clipped():
    # Means 1/2, variances 1/4, covariance -1/4: SSIM is -0.996, and 1 - SSIM counts as 1.
    board = np.indices((12, 12)).sum(0) % 2
    assert float(losses.ssim_loss(image(board), image(1 - board))) == 0.5


def test_signed_gradient_by_hand():
    # One bright pixel of 3x3: Sobel along x is -1 -2 -1 on its right and 1 2 1 on its left (sum of
    # magnitudes 8), along y likewise: 16 over 9 pixels.
    point = np.zeros((3, 3))
    point[1, 1] = 1
    dark, bright = image(0 * point), image(point)

    def loss(*images):
        return 9 * float(losses.signed_gradient_loss(*images))

    assert loss(bright, dark, bright) == loss(dark, bright, bright) == 0
    assert loss(bright, dark, dark) == pytest.approx(16)
    # What the unsigned gradient cannot tell from the right image: an edge the wrong way round.
    assert loss(bright, dark, image(-point)) == pytest.approx(32)
    # The weaker source asks for nothing; of two equal ones, the visible one is followed.
    assert loss(bright, image(-point / 2), bright) == 0
    assert loss(bright, image(-point), bright) == 0


WEIGHTS = losses.LossWeights(
    ssim=7.0,
    reconstruction_gradient=3.0,
    fusion_gradient=2.0,
    decomposition=0.5,
    signed_gradient=4.0,
)


PARTS = dict.fromkeys(("block", "base", "detail"), "parts:Pointwise")
PLAIN = CDDFuse(features=8, heads=2, blocks=1, coupling_layers=1, **PARTS)


@pytest.fixture(scope="module")
def plain_params():
    return starting_params(PLAIN)


@pytest.mark.parametrize("loss", [losses.reconstruction_loss, losses.fusion_loss])
def test_weights_scale_the_parts(loss, plain_params):
    visible, infrared = jax.random.uniform(jax.random.key(3), (2, 1, 12, 12, 1))
    compute = jax.jit(functools.partial(loss, weights=WEIGHTS, model=PLAIN))
    total, parts = compute(plain_params, visible, infrared)
    assert min(map(abs, parts.values())) > 0
    if "fusion" in parts:
        expected = parts["intensity"] + 2 * parts["gradient"] + 4 * parts["signed_gradient"]
        assert float(parts["fusion"]) == pytest.approx(float(expected), rel=1e-6)
    else:
        expected = (
            7 * (parts["ssim_vis"] + parts["ssim_ir"])
            + parts["mse_vis"]
            + parts["mse_ir"]
            + 3 * parts["gradient"]
        )
    expected += 0.5 * parts["decomposition"]
    assert float(total) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "model"),
    [(losses.reconstruction_loss, PLAIN), (losses.fusion_loss, None),
     pytest.param(losses.reconstruction_loss, None, marks=pytest.mark.long)],
)  # fmt: skip
def test_a_black_patch_has_a_finite_gradient(loss, model, plain_params, tiny_params):
    """The patch preparation keeps black patches; the release's gradient is NaN on them."""
    black = jnp.zeros((1, 12, 12, 1))
    visible = jax.random.uniform(jax.random.key(3), (1, 12, 12, 1))
    params = plain_params if model else tiny_params
    compute = jax.jit(jax.grad(functools.partial(loss, weights=WEIGHTS, model=model), has_aux=True))
    gradient, _ = compute(params, visible, black)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
