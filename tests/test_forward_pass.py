"""The whole network against its formula: fusing, reconstructing, both modalities, each platform."""

import functools
import subprocess
import sys

import numpy as np
import pytest
import reference
from numerics import assert_close, draw_params, evaluate
from programs import environment

from cddfuse_jax.models import RESIDUALS
from cddfuse_jax.models.cddfuse import CDDFuse

SMALL = CDDFuse(features=8, heads=2, blocks=1, coupling_layers=2)
pytestmark = pytest.mark.usefixtures("x64")


def test_fusing_is_its_formula_with_every_residual():
    """CPUs encode the modalities one after the other, other platforms both at once."""
    rng = np.random.default_rng(0)
    visible, infrared = rng.uniform(size=(2, 2, 5, 3, 1))
    params = draw_params(SMALL, visible, infrared)

    def fuse(*images):
        apply = functools.partial(SMALL.apply, {"params": params}, *images)
        one_by_one = [apply(residual=each) for each in RESIDUALS]
        return one_by_one, apply(residual="visible", method="fuse_with_features").image

    def expected(*images):
        return [reference.fuse(params, *images, each) for each in RESIDUALS]

    truth = evaluate(expected, visible, infrared)
    one_by_one, at_once = evaluate(fuse, visible, infrared)  # on the CPU of the test
    assert_close(one_by_one, truth, 1e-12)
    assert_close(at_once, truth[0], 1e-12)
    assert abs(truth[0] - truth[1]).max() > 0.1
    assert abs(truth[0] - truth[2]).max() > 0.1


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


SHARDED = """
import jax
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from cddfuse_jax.models.cddfuse import CDDFuse

model = CDDFuse(features=8, heads=2, blocks=1, coupling_layers=1)
pairs = np.random.default_rng(0).random((2, 4, 9, 7, 1), np.float32)
variables = jax.jit(model.init)(jax.random.key(0), *pairs[:, :1])


def fuse(variables, visible, infrared):
    return model.apply(variables, visible, infrared, method="fuse")


mesh = Mesh(np.array(jax.devices()), ("data",))
split = jax.shard_map(fuse, mesh=mesh, in_specs=(P(), P("data"), P("data")), out_specs=P("data"))
fused = jax.jit(split)(variables, *pairs)
assert len(fused.sharding.device_set) == 2
print(abs(fused - jax.jit(fuse)(variables, *pairs)).max())
"""


def test_pairs_are_fused_on_several_devices_inside_shard_map():
    done = subprocess.run(
        [sys.executable, "-c", SHARDED], capture_output=True, text=True, timeout=200,
        env=environment(2),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-5
