"""Every block against its formula in float64, its inverse, its gradients, its initial weights."""

import functools
import math

import jax
import jax.export
import numpy as np
import pytest
import reference
from programs import compiler_options

from cddfuse_jax.models import attention, convolutions, inn, lite_transformer, restormer
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.models.encoder_decoder import Decoder, Encoder
from cddfuse_jax.models.options import RESIDUALS

SIZES = [(2, 2), (3, 5), (9, 7)]
C, HEADS = 8, 2
QUICK = compiler_options()
SMALL = CDDFuse(features=C, heads=HEADS, blocks=1, coupling_layers=2)

BLOCKS = {
    "LayerNorm": (restormer.LayerNorm(), reference.layer_norm),
    "MDTA": (restormer.MDTA(HEADS), reference.mdta),
    "GDFN": (restormer.GDFN(), reference.gdfn),
    "RestormerBlock": (restormer.RestormerBlock(HEADS), reference.restormer_block),
    "RestormerBlocks": (restormer.RestormerBlocks(2, HEADS), reference.restormer_blocks),
    "BaseAttention": (lite_transformer.BaseAttention(HEADS), reference.base_attention),
    "BaseFeedForward": (lite_transformer.BaseFeedForward(), reference.base_feed_forward),
    "BaseFeatureExtraction": (
        lite_transformer.BaseFeatureExtraction(HEADS),
        reference.base_feature_extraction,
    ),
    "InvertedResidual": (inn.InvertedResidual(), reference.inverted_residual),
    "CouplingLayer": (inn.CouplingLayer(C), reference.coupling_layer),
    "DetailFeatureExtraction": (
        inn.DetailFeatureExtraction(2, C),
        reference.detail_feature_extraction,
    ),
    "Encoder": (Encoder(1, C, HEADS, 1, 1, remat=True), reference.encode),
    "Decoder": (Decoder(1, C, HEADS, 1, remat=True), reference.decode),
}
# What composes these is differentiated by JAX alone.
DIFFERENTIATED = [
    "LayerNorm",
    "MDTA",
    "GDFN",
    "BaseAttention",
    "BaseFeedForward",
    "CouplingLayer",
    "RestormerBlocks",
]
INPUTS = {"Encoder": [1], "Decoder": [C, C, 1]}  # channels of each input, where not [C]


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def forms_of_tpus(monkeypatch):
    """Compute here in the forms that TPUs would compute in."""

    def choose(*arguments, default, tpu=None, cpu=None):
        del cpu
        return (tpu or default)(*arguments)

    monkeypatch.setattr(jax.lax, "platform_dependent", choose)


def draw(rng, shape):
    return rng.standard_normal(shape)


def draw_params(module, *inputs, **options):
    """Params in float64, of the size that training would give them, none of them 0 or 1."""
    rng = np.random.default_rng(1)
    structs = [jax.ShapeDtypeStruct(x.shape, np.float32) for x in inputs]
    variables = jax.eval_shape(lambda *x: module.init(jax.random.key(0), *x, **options), *structs)

    def leaf(path, struct):
        if len(struct.shape) > 1:
            return draw(rng, struct.shape) / math.sqrt(math.prod(struct.shape[:-1]))
        return 0.3 * draw(rng, struct.shape) + ("bias" not in path[-1].key)

    return jax.tree_util.tree_map_with_path(leaf, variables["params"])


def evaluate(function, *arguments):
    return jax.jit(function, compiler_options=QUICK)(*arguments)


def gradients(function, *arguments):
    """Gradients, with respect to all arguments, of one random projection of the function."""

    def run(*arguments):
        value, vjp = jax.vjp(function, *arguments)
        rng = np.random.default_rng(2)
        return vjp(jax.tree.map(lambda leaf: draw(rng, leaf.shape).astype(leaf.dtype), value))

    return evaluate(run, *arguments)


def assert_close(ours, expected, tolerance):
    """Every leaf within ``tolerance`` of its largest entry (of 1 if that is less)."""
    assert jax.tree.structure(ours) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype == np.float64
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1, abs(b).max()))


def block(name, size):
    """A block as a function, its formula, and arguments for both: params and inputs."""
    module, formula = BLOCKS[name]
    rng = np.random.default_rng(0)
    inputs = [draw(rng, (2, *size, channels)) for channels in INPUTS.get(name, [C])]

    def apply(params, *inputs):
        return module.apply({"params": params}, *inputs)

    return apply, formula, (draw_params(module, *inputs), *inputs)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_are_their_formulas(name, size):
    apply, formula, arguments = block(name, size)
    assert_close(evaluate(apply, *arguments), evaluate(formula, *arguments), 1e-12)


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_gradients_of_blocks_are_those_of_their_formulas(name):
    apply, formula, arguments = block(name, (3, 5))
    assert_close(gradients(apply, *arguments), gradients(formula, *arguments), 1e-10)


@pytest.mark.usefixtures("forms_of_tpus")
@pytest.mark.parametrize(
    "name", ["MDTA", "GDFN", "BaseAttention", "BaseFeedForward", "CouplingLayer"]
)
def test_the_forms_of_tpus_are_the_same_formulas(name):
    apply, formula, arguments = block(name, (3, 5))
    assert_close(evaluate(apply, *arguments), evaluate(formula, *arguments), 1e-12)
    assert_close(gradients(apply, *arguments), gradients(formula, *arguments), 1e-10)


def test_the_forms_of_tpus_have_no_loops(forms_of_tpus, monkeypatch):
    apply, _, arguments = block("GDFN", (3, 5))

    def traced():
        def run(*arguments):
            value, vjp = jax.vjp(apply, *arguments)
            return vjp(value)

        return str(jax.make_jaxpr(run)(*arguments))

    assert "scan[" not in traced()
    monkeypatch.undo()
    assert "scan[" in traced()


# 16 rows: the products for a depthwise kernel's gradient are added up in 8 parts of 2.
@pytest.mark.parametrize("size", [(1, 1), *SIZES, (16, 3)], ids=str)
@pytest.mark.parametrize("name", ["depthwise3x3", "conv3x3"])
def test_derivatives_of_convolutions_are_those_of_xla(name, size):
    rng = np.random.default_rng(0)
    x = draw(rng, (2, *size, 4))
    if name == "depthwise3x3":
        kernel = draw(rng, (3, 3, 1, 4))
        ours, groups = (lambda x, k: convolutions.depthwise3x3(convolutions.pad(x), k)), 4
    else:
        kernel, ours, groups = draw(rng, (3, 3, 4, 6)), convolutions.conv3x3, 1

    def expected(x, kernel):
        return reference.conv(x, kernel, groups)

    assert_close(evaluate(ours, x, kernel), evaluate(expected, x, kernel), 1e-12)
    assert_close(gradients(ours, x, kernel), gradients(expected, x, kernel), 1e-12)


# CPUs encode the modalities one after the other, other platforms both at once.
@pytest.mark.parametrize("form", ["one_after_the_other", "both_at_once"])
def test_fusing_is_its_formula_with_every_residual(form):
    rng = np.random.default_rng(0)
    visible, infrared = rng.uniform(size=(2, 2, 5, 3, 1))
    params = draw_params(SMALL, visible, infrared)

    def fuse(*images):
        apply = functools.partial(SMALL.apply, {"params": params}, *images)
        if form == "one_after_the_other":  # on the CPU of the test
            return [apply(residual=each) for each in RESIDUALS]
        return [apply(residual=each, method="fuse_with_features").image for each in RESIDUALS]

    def expected(*images):
        return [reference.fuse(params, *images, each) for each in RESIDUALS]

    images = evaluate(fuse, visible, infrared)
    assert_close(images, evaluate(expected, visible, infrared), 1e-12)
    assert abs(images[0] - images[1]).max() > 0.1
    assert abs(images[0] - images[2]).max() > 0.1


@pytest.mark.parametrize(
    ("platforms", "at_once", "one_by_one"),
    [
        (["cpu"], False, True),
        (["tpu"], True, False),
        (["cuda"], True, False),
        (["cpu", "cuda", "tpu"], True, True),
    ],
    ids=str,
)
def test_a_program_has_the_form_of_the_platform_that_it_is_lowered_for(
    platforms, at_once, one_by_one
):
    images = [jax.ShapeDtypeStruct((3, 5, 7, 1), np.float32)] * 2
    params = jax.eval_shape(SMALL.init, jax.random.key(0), *images)["params"]

    def fuse(params, *images):
        return SMALL.apply({"params": params}, *images)

    exported = jax.export.export(jax.jit(fuse), platforms=platforms)(params, *images)
    program = exported.mlir_module()
    assert ("tensor<6x5x7x8xf32>" in program) == at_once  # a batch of both images' features
    assert ("tensor<2x3x5x7x1xf32>" in program) == one_by_one  # the images, for a loop over them


def test_the_gradient_through_both_modalities_is_that_of_the_formula():
    rng = np.random.default_rng(0)
    visible, infrared = rng.uniform(size=(2, 1, 3, 4, 1))
    params = draw_params(SMALL, visible, infrared)

    def sums(encoder, *images):
        return SMALL.apply({"params": {"encoder": encoder}}, *images, method="encode_sums")

    def expected(encoder, *images):
        (base, detail, _), (other_base, other_detail, _) = (
            reference.encode(encoder, image) for image in images
        )
        return base + other_base, detail + other_detail

    arguments = (params["encoder"], visible, infrared)
    assert_close(gradients(sums, *arguments), gradients(expected, *arguments), 1e-10)


def test_reconstruction_adds_the_image_or_nothing():
    image = np.random.default_rng(0).uniform(size=(1, 4, 3, 1))
    params = draw_params(SMALL, image, image)

    def reconstruct(image):
        return [
            SMALL.apply({"params": params}, image, residual, method="reconstruct")
            for residual in (True, False)
        ]

    def expected(image):
        base, detail, _ = reference.encode(params["encoder"], image)
        return [
            reference.decode(params["decoder"], base, detail, residual) for residual in (image, 0.0)
        ]

    assert_close(evaluate(reconstruct, image), evaluate(expected, image), 1e-12)


def test_recomputing_blocks_changes_no_gradient():
    x = draw(np.random.default_rng(0), (1, 4, 3, C))
    stored, recomputed = (restormer.RestormerBlocks(2, HEADS, remat) for remat in (False, True))
    params = draw_params(stored, x)

    def apply(module):
        return lambda params, x: module.apply({"params": params}, x)

    value = evaluate(apply(stored), params, x)
    np.testing.assert_array_equal(value, evaluate(apply(recomputed), params, x))
    assert_close(
        gradients(apply(stored), params, x), gradients(apply(recomputed), params, x), 1e-14
    )


@pytest.mark.parametrize(
    "module", [inn.CouplingLayer(C), inn.DetailFeatureExtraction(3, C)], ids=["layer", "branch"]
)
def test_the_detail_branch_is_invertible(module):
    x = draw(np.random.default_rng(0), (2, 5, 4, C))
    params = draw_params(module, x)
    y = evaluate(lambda x: module.apply({"params": params}, x), x)
    assert abs(y - x).max() > 0.1
    back = evaluate(lambda y: module.apply({"params": params}, y, method="inverse"), y)
    assert_close(back, x, 1e-11)
    forth = evaluate(lambda x: module.apply({"params": params}, x), back)
    assert_close(forth, np.asarray(y), 1e-11)


def test_layer_norm_by_hand():
    # Mean 2 and biased variance 5 of (-1, 1, 3, 5): (x - 2) / sqrt(5.00001).
    params = {"weight": np.array([1.0, 1, 2, -1]), "bias": np.array([0.0, 1, 0, 0])}
    y = restormer.LayerNorm().apply({"params": params}, np.array([[[[-1.0, 1, 3, 5]]]]))
    root = math.sqrt(5.00001)
    np.testing.assert_allclose(
        y[0, 0, 0], [-3 / root, 1 - 1 / root, 2 / root, -3 / root], atol=1e-15
    )


def test_gelu_by_hand():
    # x · Φ(x) with Φ(1) = 0.8413447460685429 and Φ(-2) = 0.0227501319481792.
    y = restormer.gelu(np.array([0.0, 1, -2, 10]))
    np.testing.assert_allclose(y, [0, 0.8413447460685429, -0.0455002638963584, 10], atol=1e-15)


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


def test_pairs_of_a_batch_do_not_touch():
    rng = np.random.default_rng(0)
    visible, infrared = rng.uniform(size=(2, 2, 3, 5, 1))
    params = draw_params(SMALL, visible, infrared)

    def fuse(visible, infrared):
        return SMALL.apply({"params": params}, visible, infrared)

    alone = [evaluate(fuse, visible[i : i + 1], infrared[i : i + 1]) for i in range(2)]
    assert abs(alone[0] - alone[1]).max() > 0.01
    assert_close(evaluate(fuse, visible, infrared), np.concatenate(alone), 1e-14)
