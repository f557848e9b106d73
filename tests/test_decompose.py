import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_agrees, assert_fused

from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.training.decomposing import decompose
from cddfuse_jax.training.feature_pictures import GAP, grid
from cddfuse_jax.training.losses import decomposition


def test_a_pair_taken_apart(tiny_params):
    model = CDDFuse.from_params(tiny_params)
    visible, infrared = synthetic_pair(0, 40, 56)
    parts = decompose(model, tiny_params, visible, infrared, "visible")
    jitted = jax.jit(model.apply, static_argnames="method")
    apply = lambda *x, method: jitted({"params": tiny_params}, *x, method=method)  # noqa: E731
    pair = np.stack([visible, infrared])[..., None]
    base, detail, _ = apply(pair, method="encode")
    expected = decomposition(base, detail)
    for name in ("cc_base", "cc_detail", "decomposition"):
        assert getattr(parts, name) == pytest.approx(float(expected[name]), rel=1e-4, abs=1e-6)

    def means(params, images):
        base, detail, _ = model.apply({"params": params}, images, method="encode")
        return jnp.stack([base.mean(-1), detail.mean(-1)])

    assert_agrees(np.stack([parts.base[:2], parts.detail[:2]]), means, tiny_params, pair)
    np.testing.assert_array_equal(parts.images[:2], pair[..., 0])
    assert_fused(parts.images[2], model, tiny_params, visible, infrared)
    drawn = grid(parts)
    assert drawn.shape == (3 * 40 + 2 * GAP, 3 * 56 + 2 * GAP)
    for panel, image in ((drawn[:40, :56], visible), (drawn[-40:, :56], parts.images[2])):
        np.testing.assert_allclose(panel, 255 * np.clip(image, 0, 1), atol=0.501)  # rounded
    for panel in (drawn[:40, 56 + GAP :][:, :56], drawn[-40:, -56:]):
        assert panel.min() == 0 and panel.max() == 255  # each map from its 1st to 99th percentile
