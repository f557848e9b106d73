"""The update lowers for every platform, with nothing in it that one of them lacks."""

import functools
import re

import jax
import jax.numpy as jnp
import pytest

from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.models.precision import computed
from cddfuse_jax.training.losses import fusion_loss, reconstruction_loss
from cddfuse_jax.training.optimizers import adam, learning_rate
from cddfuse_jax.training.update import MODULES, Stage, init_params, init_state, update

SMALL = {"features": 8, "heads": 2, "blocks": 1, "coupling_layers": 1}
LOSSES = {"reconstruction": reconstruction_loss, "fusion": fusion_loss}


@functools.cache
def lowered(platform: str, stage: str, precision: str = "float32") -> str:
    model = CDDFuse(**SMALL, dtype=jnp.bfloat16 if precision == "bf16" else None)
    optimizers = dict.fromkeys(MODULES, adam(learning_rate(1)))
    state = jax.eval_shape(lambda: init_state(init_params(model, jax.random.key(0)), optimizers))
    image = jax.ShapeDtypeStruct((2, 16, 16, 1), jnp.float32)
    loss = functools.partial(LOSSES[stage], model=model)
    bound = functools.partial(
        update, stage=Stage(stage, loss, MODULES[: 2 if stage != "fusion" else 4]),
        optimizers=optimizers,
    )  # fmt: skip
    function = jax.jit(computed(bound, precision))
    return function.trace(state, image, image).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("stage", ["fusion"])
def test_the_update_calls_nothing_of_a_platforms_own(platform, stage):
    program = lowered(platform, stage)
    assert len(re.findall("stablehlo.convolution", program)) > 5
    assert re.findall(r"custom_call @(\w+)", program) == []


def test_tpus_get_other_forms_than_gpus():
    loops = {name: lowered(name, "fusion").count("stablehlo.while") for name in ("cuda", "tpu")}
    # On TPUs the only loops are over the blocks, forward and backward, of encoder and decoder.
    assert loops["tpu"] == 4 < loops["cuda"]
