"""Every block against its formula in float64, its inverse, its gradients, its initial weights."""

import jax
import numpy as np
import pytest
import reference
from numerics import assert_close, draw, draw_params, evaluate, gradients

from cddfuse_jax.fusing.network_check import check_network
from cddfuse_jax.models import attention, base, convolutions, derivatives, detail, layers, restormer
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.models.decoder import Decoder
from cddfuse_jax.models.encoder import Encoder

C, HEADS = 8, 2

BLOCKS = {
    "LayerNorm": (layers.LayerNorm(), reference.layer_norm),
    "MDTA": (restormer.MDTA(HEADS), reference.mdta),
    "GDFN": (restormer.GDFN(), reference.gdfn),
    "RestormerBlocks": (restormer.RestormerBlocks(2, HEADS), reference.restormer_blocks),
    "BaseAttention": (base.BaseAttention(HEADS), reference.base_attention),
    "grouped GDFN": (restormer.GDFN(expansion=1, per_group=2), reference.base_feed_forward),
    "BaseFeatureExtraction": (
        base.BaseFeatureExtraction(HEADS),
        reference.base_feature_extraction,
    ),
    "CouplingLayer": (detail.CouplingLayer(C), reference.coupling_layer),
    "DetailFeatureExtraction": (
        detail.DetailFeatureExtraction(2, C),
        reference.detail_feature_extraction,
    ),
    "Encoder": (Encoder(1, C, HEADS, 1, 1, remat=True), reference.encode),
    "Decoder": (Decoder(1, HEADS, 1, remat=True), reference.decode),
}
# What composes these is differentiated by JAX alone.
PARTS = ["MDTA", "GDFN", "grouped GDFN", "BaseAttention", "CouplingLayer"]
EDGES = [(2, 2), (9, 7)]  # the smallest image, and one taller than wide
INPUTS = {"Encoder": [1], "Decoder": [C, C, 1]}  # channels of each input, where not [C]

pytestmark = pytest.mark.usefixtures("x64")


def block(name, size):
    """A block as a function, its formula, and arguments for both: params and inputs."""
    module, formula = BLOCKS[name]
    rng = np.random.default_rng(0)
    inputs = [draw(rng, (2, *size, channels)) for channels in INPUTS.get(name, [C])]

    def apply(params, *inputs):
        return module.apply({"params": params}, *inputs)

    return apply, formula, (draw_params(module, *inputs), *inputs)


@pytest.mark.parametrize(
    ("name", "size"),
    [*((name, (3, 5)) for name in BLOCKS), *((name, size) for name in PARTS for size in EDGES)],
)
def test_blocks_are_their_formulas(name, size):
    apply, formula, arguments = block(name, size)
    assert_close(evaluate(apply, *arguments), evaluate(formula, *arguments), 1e-12)


def test_both_activations_of_the_inverted_residual_end_at_six():
    # 1 becomes 20, then 6; all nine of these are 54, then 6 again; projected 1:1 (borders reflect).
    expand, project = np.full((1, 2), 20.0), np.array([[1.0], [0.5]])
    params = {"expand": expand, "depthwise": np.ones((3, 3, 1, 2)), "project": project}
    y = detail.InvertedResidual().apply({"params": params}, np.ones((1, 2, 3, 1)))
    np.testing.assert_array_equal(y, np.full((1, 2, 3, 1), 6 + 0.5 * 6))
    # Halved by the depthwise kernel's one tap, 6 becomes 3, which is not cut.
    params["depthwise"] = np.zeros((3, 3, 1, 2))
    params["depthwise"][1, 1] = 0.5
    y = detail.InvertedResidual().apply({"params": params}, np.ones((1, 2, 3, 1)))
    np.testing.assert_array_equal(y, np.full((1, 2, 3, 1), 3 + 0.5 * 3))


@pytest.mark.parametrize("name", ["LayerNorm", *PARTS])
def test_gradients_of_blocks_are_those_of_their_formulas(name):
    apply, formula, arguments = block(name, (3, 5))
    assert_close(gradients(apply, *arguments), gradients(formula, *arguments), 1e-10)


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
@pytest.mark.parametrize("name", PARTS)
def test_implementations_for_accelerators_are_the_same_formulas(name, platform):
    apply, formula, arguments = block(name, (3, 5))
    with derivatives.implementations_for(platform):
        found = evaluate(apply, *arguments), gradients(apply, *arguments)
    assert_close(found[0], evaluate(formula, *arguments), 1e-12)
    assert_close(found[1], gradients(formula, *arguments), 1e-10)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_implementations_for_accelerators_fuse_in_parts(platform):
    jax.clear_caches()  # of what was traced for CPUs
    with derivatives.implementations_for(platform):
        check_network(CDDFuse(features=C, heads=HEADS, blocks=1, coupling_layers=1))
    jax.clear_caches()


# 16 rows: the products for a depthwise kernel's gradient are added up in 8 parts of 2.
@pytest.mark.parametrize("size", [(1, 1), *EDGES, (16, 3)], ids=str)
@pytest.mark.parametrize("name", ["depthwise3x3", "conv3x3"])
def test_derivatives_of_convolutions_are_those_of_xla(name, size):
    rng = np.random.default_rng(0)
    x = draw(rng, (2, *size, 4))
    if name == "depthwise3x3":
        kernel = draw(rng, (3, 3, 1, 4))
        ours, groups = (lambda x, k: convolutions.depthwise3x3(derivatives.pad(x), k)), 4
    else:
        kernel, ours, groups = draw(rng, (3, 3, 4, 6)), convolutions.conv3x3, 1

    def expected(x, kernel):
        return reference.conv(x, kernel, groups)

    assert_close(evaluate(ours, x, kernel), evaluate(expected, x, kernel), 1e-12)
    assert_close(gradients(ours, x, kernel), gradients(expected, x, kernel), 1e-12)


def test_recomputing_blocks_changes_no_gradient():
    x = draw(np.random.default_rng(0), (1, 4, 3, C))
    stored, recomputed = (restormer.RestormerBlocks(1, HEADS, remat) for remat in (False, True))
    params = draw_params(stored, x)

    def apply(module):
        return lambda params, x: module.apply({"params": params}, x)

    assert_close(
        gradients(apply(stored), params, x), gradients(apply(recomputed), params, x), 1e-14
    )


def test_the_detail_branch_is_invertible():
    module = detail.DetailFeatureExtraction(2, C)
    x = draw(np.random.default_rng(0), (2, 5, 4, C))
    params = draw_params(module, x)
    y = evaluate(lambda x: module.apply({"params": params}, x), x)
    assert abs(y - x).max() > 0.1
    back = evaluate(lambda y: module.apply({"params": params}, y, method="inverse"), y)
    assert_close(back, x, 1e-11)
    forth = evaluate(lambda x: module.apply({"params": params}, x), back)
    assert_close(forth, np.asarray(y), 1e-11)


def test_attention_divides_norms_out_down_to_1e_12():
    rng = np.random.default_rng(0)
    q, k, v = draw(rng, (3, 1, 2, 3, C))
    others = (v, np.ones(HEADS), draw(rng, (C, C)))
    # Norms above 1e-12 in all: the square of a norm of 1e-8 is far above what it is clamped at.
    expected = attention.transposed_attention(attention.gram_sums(q, k), *others)
    faint = attention.transposed_attention(attention.gram_sums(1e-8 * q, k), *others)
    np.testing.assert_allclose(faint, expected, rtol=1e-9)
    below = attention.transposed_attention(attention.gram_sums(1e-14 * q, k), *others)
    assert abs(below - expected).max() > 0.01


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_attention_of_nothing_has_a_finite_gradient(dtype):
    rng = np.random.default_rng(0)
    k, v = (draw(rng, (1, 2, 3, C)).astype(dtype) for _ in range(2))

    def attend(q, k, *others):
        return attention.transposed_attention(attention.gram_sums(q, k), *others)

    arguments = (np.zeros_like(k), k, v, np.ones(HEADS, dtype), draw(rng, (C, C)).astype(dtype))
    # All logits are 0, so that each channel becomes the mean of its head's.
    result = evaluate(attend, *arguments)
    means = np.repeat(v.reshape(1, 2, 3, HEADS, -1).mean(-1), C // HEADS, axis=-1)
    np.testing.assert_allclose(result, means @ arguments[-1], atol=100 * np.finfo(dtype).eps)
    for gradient in gradients(attend, *arguments):
        assert np.isfinite(gradient).all()


def test_second_derivatives_and_forward_mode():
    """A gradient penalty through a block, against the formula's by XLA."""
    x = draw(np.random.default_rng(0), (1, 4, 3, C))
    module = restormer.RestormerBlocks(1, HEADS)
    params = draw_params(module, x)

    def penalty(apply):
        return lambda x: (jax.grad(lambda x: (apply(x) ** 2).sum())(x) ** 2).sum()

    def ours(x):
        return module.apply({"params": params}, x)

    def formula(x):
        return reference.restormer_blocks(params, x)

    found, expected = (jax.jit(jax.grad(penalty(apply)))(x) for apply in (ours, formula))
    assert_close(found, expected, 1e-10)
    with derivatives.plain_derivatives():
        _, forward = jax.jvp(jax.jit(ours), (x,), (x,))
    assert_close(forward, jax.jvp(jax.jit(formula), (x,), (x,))[1], 1e-10)


def test_one_platform_is_traced_unless_all_are_asked_for():
    apply, _, arguments = block("MDTA", (4, 3))

    def platforms():
        def total(*arguments):
            return apply(*arguments).sum()

        return str(jax.jit(jax.grad(total)).trace(*arguments).jaxpr).count("platform_index")

    assert platforms() == 0
    with derivatives.implementations_for("all"):
        assert platforms() > 0
    assert platforms() == 0
