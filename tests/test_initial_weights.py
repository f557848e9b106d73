"""Torch's default initial weights, which are not Flax's."""

import functools
import math

import jax
import numpy as np
import pytest
from numerics import evaluate

from cddfuse_jax.models.cddfuse import CDDFuse

pytestmark = pytest.mark.slow

IMAGE = np.zeros((1, 4, 4, 1), np.float32)


@pytest.fixture(scope="module")
def params():
    """Initial params, of the release's width."""
    model = CDDFuse(blocks=2, coupling_layers=1)
    return evaluate(lambda key: model.init(key, IMAGE, IMAGE)["params"], jax.random.key(0))


def named_leaves(params):
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        yield "/".join(part.key for part in path), np.asarray(leaf)


def test_norms_and_temperatures_start_at_one_and_zero(params):
    counted = 0
    for name, leaf in named_leaves(params):
        if name.endswith(("temperature", "scale")) or "norm" in name:
            counted += 1
            np.testing.assert_array_equal(leaf, 0 if name.endswith("bias") else 1, err_msg=name)
    assert counted == 30  # 6 blocks, each with two norms' weight and bias, and a temperature


@pytest.mark.parametrize(
    ("name", "fan_in"),
    [
        ("encoder/patch_embed", 9),
        ("encoder/blocks/0/attn/qkv", 64),
        ("encoder/blocks/1/attn/qkv_dwconv", 9),
        ("encoder/blocks/1/ffn/project_out", 128),
        ("encoder/base/attn/qkv2", 9 * 192),
        ("encoder/base/mlp/dwconv", 2 * 9),
        ("encoder/detail/0/phi/expand", 32),
        ("encoder/detail/0/phi/project", 64),
        ("encoder/detail/0/shuffle_kernel", 64),
        ("encoder/detail/0/shuffle_bias", 64),
        ("decoder/reduce_channel", 128),
        ("decoder/output2", 9 * 32),
        ("detail_fusion/0/shuffle_bias", 64),
    ],
)
def test_convolutions_start_uniform_within_one_over_root_fan_in(params, name, fan_in):
    leaf = dict(named_leaves(params))[name]
    assert leaf.dtype == np.float32
    bound = np.float32(1 / math.sqrt(fan_in))
    assert abs(leaf).max() <= bound
    # Of n numbers, uniform up to 1, the largest misses 1 by about 1 / n.
    assert abs(leaf).max() > bound * (1 - 8 / leaf.size)
    # The standard deviation of uniform numbers is bound / sqrt(3); it scatters by 1 / sqrt(5 n).
    assert abs(leaf.std() * math.sqrt(3) / bound - 1) < 4 / math.sqrt(5 * leaf.size)
    assert abs(leaf.mean()) < 4 * bound / math.sqrt(3 * leaf.size)


def test_no_two_tensors_start_alike(params):
    drawn = [leaf.ravel()[:32] for _, leaf in named_leaves(params) if leaf.std() > 0]
    assert len({leaf.tobytes() for leaf in drawn}) == len(drawn) > 50


def test_an_unknown_residual_is_refused():
    with pytest.raises(ValueError, match="one of visible, sum, none, got 'infrared'"):
        init = functools.partial(CDDFuse(blocks=1).init, residual="infrared")
        jax.eval_shape(init, jax.random.key(0), IMAGE, IMAGE)
