"""The update lowers for every platform, with nothing in it that one of them lacks."""

import functools
import re

import jax
import jax.numpy as jnp
import pytest

from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.models.derivatives import traced_for
from cddfuse_jax.models.precision import computed
from cddfuse_jax.training.losses import fusion_loss, reconstruction_loss
from cddfuse_jax.training.optimizers import adam, learning_rate
from cddfuse_jax.training.update import MODULES, Stage, init_params, init_state, update

SMALL = {"features": 8, "heads": 2, "blocks": 1, "coupling_layers": 1}
LOSSES = {"reconstruction": reconstruction_loss, "fusion": fusion_loss}


@functools.cache
def lowered(platform: str, stage: str, precision: str = "float32", piece: int = 0) -> str:
    dtype = jnp.bfloat16 if precision == "bf16" else None
    model = CDDFuse(**SMALL, dtype=dtype, piece=piece)
    optimizers = dict.fromkeys(MODULES, adam(learning_rate(1)))
    state = jax.eval_shape(lambda: init_state(init_params(model, jax.random.key(0)), optimizers))
    image = jax.ShapeDtypeStruct((2, 16, 16, 1), jnp.float32)
    loss = functools.partial(LOSSES[stage], model=model)
    bound = functools.partial(
        update, stage=Stage(stage, loss, MODULES[: 2 if stage != "fusion" else 4]),
        optimizers=optimizers,
    )  # fmt: skip
    function = jax.jit(traced_for(platform, computed(bound, precision)))
    return function.trace(state, image, image).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("piece", [0, 1])
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_update_calls_nothing_of_a_platforms_own(platform, piece):
    program = lowered(platform, "fusion", piece=piece)
    assert len(re.findall("stablehlo.convolution", program)) > 5
    assert re.findall(r"custom_call @(\w+)", program) == []


def fusing(platform: str, pairs: int) -> str:
    model = CDDFuse(**SMALL)
    params = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    images = jax.ShapeDtypeStruct((pairs, 16, 16, 1), jnp.float32)
    traced = jax.jit(model.apply).trace({"params": params}, images, images)
    return traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize(
    ("platform", "pairs", "merged"),
    [("cpu", 8, 0), ("cuda", 1, 6), ("rocm", 1, 6), ("tpu", 1, 0), ("tpu", 4, 3), ("tpu", 8, 6)],
)
def test_dense_kernels_are_where_they_pay(platform, pairs, merged):
    """Two in each place of blocks, one in each base branch; TPUs take them for images by eights."""
    program = fusing(platform, pairs)
    assert program.count("stablehlo.convolution") == 5 + merged
    over_two_axes = re.findall(r"contracting_dims = \[1, 2\] x \[1, 2\]", program)
    assert bool(over_two_axes) == (platform in ("cpu", "tpu"))


def test_tpus_get_other_forms_than_gpus():
    loops = {name: lowered(name, "fusion").count("stablehlo.while") for name in ("cuda", "tpu")}
    # On TPUs the only loops are over the blocks, forward and backward, of encoder and decoder.
    assert loops["tpu"] == 4 < loops["cuda"]
