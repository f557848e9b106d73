"""The update lowers for every platform, with nothing in it that one of them lacks."""

import functools
import re

import jax
import jax.numpy as jnp
import pytest

from cddfuse_jax.models.cddfuse import MODULES, CDDFuse
from cddfuse_jax.models.derivatives import implementations_for
from cddfuse_jax.training.losses import fusion_loss
from cddfuse_jax.training.optimizers import adam, learning_rate
from cddfuse_jax.training.update import Stage, init_params, init_state, update


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_update_calls_nothing_of_a_platforms_own(platform):
    model = CDDFuse(features=8, heads=2, blocks=1, coupling_layers=1)
    optimizers = dict.fromkeys(MODULES, adam(learning_rate(1)))
    state = jax.eval_shape(lambda: init_state(init_params(model, jax.random.key(0)), optimizers))
    image = jax.ShapeDtypeStruct((2, 16, 16, 1), jnp.float32)
    stage = Stage("fusion", functools.partial(fusion_loss, model=model), MODULES)
    step = functools.partial(update, stage=stage, optimizers=optimizers)
    with implementations_for(platform):
        traced = jax.jit(step).trace(state, image, image)
    program = traced.lower(lowering_platforms=(platform,)).as_text()
    assert len(re.findall("stablehlo.convolution", program)) > 5
    assert re.findall(r"custom_call @(\w+)", program) == []
