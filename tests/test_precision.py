"""bfloat16 where it is meant and nowhere else, how far it is off, and exact products on demand."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_fused
from jax.extend.core import jaxprs_in_params
from test_golden import GOLDEN, STAGES, nhwc

from cddfuse_jax import config as configs
from cddfuse_jax.config import check_resumable
from cddfuse_jax.errors import InputError
from cddfuse_jax.fusing.buckets import fuse_in_bucket
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.fusing.strips import fuse_in_strips
from cddfuse_jax.fusing.whole import make_fuse
from cddfuse_jax.models import PRECISIONS
from cddfuse_jax.models.cddfuse import MODULES, CDDFuse
from cddfuse_jax.models.precision import computed, features_dtype
from cddfuse_jax.training.losses import fusion_loss
from cddfuse_jax.training.optimizers import adam, learning_rate
from cddfuse_jax.training.recipe import make_model
from cddfuse_jax.training.update import Stage, init_state, update

pytestmark = [pytest.mark.slow, pytest.mark.optimized]

BF16 = 2.0**-9  # relative error of a rounded number
IMAGE = jnp.zeros((1, 16, 16, 1), jnp.float32)


def update_of(params, precision):
    """A stage II update in the given precision, and the state it is for."""
    model = CDDFuse.from_params(params, dtype=features_dtype(precision))
    stage = Stage("fusion", functools.partial(fusion_loss, model=model), MODULES)
    optimizers = dict.fromkeys(MODULES, adam(learning_rate(3)))
    step = functools.partial(update, stage=stage, optimizers=optimizers)
    return computed(step, precision), init_state(params, optimizers)


def equations(jaxpr):
    """Every equation of a jaxpr and of those inside it."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)


def products(function, *arguments):
    """Types, precision and shape of every matrix product and convolution that is traced."""
    traced = jax.make_jaxpr(function)(*arguments)
    for equation in equations(traced.jaxpr):
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            types = {str(x.aval.dtype) for x in (*equation.invars, *equation.outvars)}
            yield types, equation.params["precision"], equation.outvars[0].aval.shape


def test_bf16_is_in_the_products_and_not_in_the_state(tiny_params):
    step, state = update_of(tiny_params, "bf16")
    # But for those that pick a scanned block's parameters, exactly.
    every = products(step, state, IMAGE, IMAGE)
    found = [types for types, exact, shape in every if not exact and len(shape) > 1]
    assert found.count({"bfloat16"}) > 0.7 * len(found)
    assert {"bfloat16", "float32"} in found  # sums over pixels are float32
    after, metrics = jax.eval_shape(step, state, IMAGE, IMAGE)
    assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(lambda x: x.dtype, state)
    assert {str(x.dtype) for x in jax.tree.leaves((after.params, metrics))} == {"float32"}


def test_highest_is_in_every_product_of_an_update(tiny_params):
    step, state = update_of(tiny_params, "highest")
    found = list(products(step, state, IMAGE, IMAGE))
    assert len(found) > 60
    exact = [p for _, p, _ in found if p == (jax.lax.Precision.HIGHEST,) * 2]
    assert len(exact) == len(found)
    assert all(types == {"float32"} for types, _, _ in found)


@pytest.mark.long
def test_fusing_honours_the_precision(tiny_params):
    pair = np.random.default_rng(0).random((2, 9, 6), np.float32)
    fused = {
        each: make_fuse(CDDFuse.from_params(tiny_params), tiny_params, precision=each)(*pair)
        for each in PRECISIONS
    }
    exact = CDDFuse.from_params(tiny_params)
    for each in ("highest", "float32"):
        assert_fused(fused[each], exact, tiny_params, *pair)
    narrow = CDDFuse.from_params(tiny_params, dtype=jnp.bfloat16)
    variables = {"params": tiny_params}
    others = {
        "strips": fuse_in_strips(narrow, variables, *pair, "visible", 4),
        "bucket": fuse_in_bucket(narrow, variables, *pair, "visible", (9, 7)),
        "whole": fused["bf16"],
    }
    assert {image.dtype for image in others.values()} == {np.dtype(np.float32)}
    for image in others.values():
        assert abs(image - fused["float32"]).max() > 1e-3
        assert_fused(image, exact, tiny_params, *pair, unit=BF16)


@pytest.mark.long
def test_error_of_bf16_on_the_release_network(release_params):
    """In what its rounding carries to, which is below a grey level."""
    golden = np.load(GOLDEN / "forward.npz")
    pair = [golden[f"odd/{name}"].squeeze() for name in ("vis", "ir")]
    truth = golden["odd/truth/fused_visible_residual"].squeeze()
    fused = make_fuse(CDDFuse(), release_params, precision="bf16")(*pair)
    assert 0.01 < 255 * abs(np.float64(fused) - truth).max() < 1
    assert_fused(fused, CDDFuse(), release_params, *pair, unit=BF16)


@pytest.mark.long
def test_bf16_trains_to_the_same_losses(release_params):
    """Stage I of the release's updates: each loss within bfloat16's unit of the float64 one."""
    golden = np.load(GOLDEN / "trajectory.npz")
    records = json.loads((GOLDEN / "trajectory.json").read_text())["f64"]
    visible, infrared = (nhwc(golden[name], np.float32) for name in ("vis", "ir"))
    stage = STAGES[0]
    loss = functools.partial(stage.loss, model=CDDFuse(dtype=jnp.bfloat16))
    optimizers = dict.fromkeys(MODULES, adam(learning_rate(steps_per_epoch=3, decay_epochs=2)))
    step = jax.jit(
        functools.partial(update, stage=stage._replace(loss=loss), optimizers=optimizers)
    )
    state = init_state(release_params, optimizers)
    errors = []
    for record in (each for each in records if each["stage"] == 1):
        batch = (images[record["batch"]] for images in (visible, infrared))
        state, metrics = step(state, *batch)
        errors.append(abs(float(metrics["total"]) / record["loss"] - 1))
    assert len(errors) > 5 and max(errors) < 2**-8, errors


def test_unknown_precisions_are_told(tiny_params):
    with pytest.raises(InputError, match="precision is one of bf16, float32, highest, got 'fp16'"):
        Fuser(tiny_params, precision="fp16")
    config = configs.release()
    config.precision = "half"
    with pytest.raises(InputError, match=r"config.precision must be one of .* got 'half'"):
        configs.check(config)


def test_a_config_says_the_precision_and_a_run_may_change_it():
    config = configs.release()
    assert make_model(config).dtype is None
    before = {"config": config.to_dict(), "steps_per_epoch": 3}
    config.precision = "bf16"
    assert make_model(config) == CDDFuse(dtype=jnp.bfloat16)
    check_resumable(before, {"config": config.to_dict(), "steps_per_epoch": 3})
