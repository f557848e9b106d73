"""Clipping, Adam, Muon, rates and the running mean against values worked out by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cddfuse_jax import config as configs
from cddfuse_jax.errors import InputError
from cddfuse_jax.models.cddfuse import MODULES
from cddfuse_jax.training.optimizers import (
    Optimizer,
    adam,
    clip_by_norm,
    learning_rate,
    muon,
    update_count,
)
from cddfuse_jax.training.recipe import make_optimizers
from cddfuse_jax.training.update import Stage, init_state, update


def clipped(max_norm: float, *gradient: float) -> list[float]:
    clip = clip_by_norm(max_norm)
    tree = {"a": jnp.float32(gradient[0]), "b": jnp.float32(gradient[1:])}
    result, _ = clip.update(tree, clip.init(tree))
    return [float(result["a"]), *map(float, result["b"])]


def test_the_norm_is_that_of_all_tensors_together():
    # Norm 5: each times 1/5.000001.
    assert clipped(1.0, 3, 0, 4) == pytest.approx([0.6, 0, 0.8], rel=1e-6)
    assert clipped(5.1, 3, 0, 4) == [3, 0, 4]  # never made longer


def test_a_millionth_is_added_to_the_norm():
    # Norm 1e-6 where 1e-6 is allowed: times 1e-6 / (1e-6 + 1e-6).
    assert clipped(1e-6, 6e-7, 0, 8e-7) == pytest.approx([3e-7, 0, 4e-7], rel=1e-5)
    assert clipped(1.0, 0, 0, 0) == [0, 0, 0]


def test_two_updates_of_adam_by_hand():
    """Gradients 0.006 and -0.008, norm below 0.01, at rate 1, then 0.5."""
    optimizer = adam(lambda count: jnp.where(count == 0, 1.0, 0.5))
    params = jnp.zeros(1)
    state = optimizer.init(params)
    assert int(update_count(state)) == 0
    steps = []
    for gradient in (0.006, -0.008):
        step, state = optimizer.update(jnp.array([gradient]), state, params)
        steps.append(float(step[0]))
    assert int(update_count(state)) == 2
    # Corrected moments of the second update: m/(1 - 0.9²), v/(1 - 0.999²).
    m = (0.9 * 0.1 * 0.006 + 0.1 * -0.008) / 0.19
    v = (0.999 * 0.001 * 0.006**2 + 0.001 * 0.008**2) / (1 - 0.999**2)
    expected = [-1.0 * 0.006 / (0.006 + 1e-8), -0.5 * m / (np.sqrt(v) + 1e-8)]
    assert steps == pytest.approx(expected, rel=1e-6)


def test_clipping_comes_before_the_moments():
    """A gradient of norm 0.02 counts as one of 0.01 by default, of 0.015 where that is allowed."""
    for max_norm, expected in (({}, 0.01), ({"max_norm": 0.015}, 0.015)):
        optimizer = adam(learning_rate(1), **max_norm)
        _, state = optimizer.update(jnp.array([0.02]), optimizer.init(jnp.zeros(1)))
        first_moment = state[1].mu[0] / 0.1
        assert float(first_moment) == pytest.approx(expected * 0.02 / 0.020001, rel=1e-6)


def test_a_vanishing_gradient_moves_nothing_far():
    """Beside eps: a first gradient g moves by rate · g / (|g| + 1e-8)."""
    optimizer = adam(learning_rate(1, initial=1.0))
    params = jnp.zeros(2)
    gradient = jnp.array([1e-8, 3e-8])
    step, _ = jax.jit(optimizer.update)(gradient, optimizer.init(params), params)
    np.testing.assert_allclose(step, [-1 / 2, -3 / 4], rtol=1e-6)


def test_learning_rate_decays_by_epoch_to_its_floor():
    schedule = learning_rate(steps_per_epoch=7)
    for epoch, expected in ((0, 1e-4), (19, 1e-4), (20, 5e-5), (40, 2.5e-5), (120, 1.5625e-6)):
        assert np.float32(schedule(7 * epoch)) == np.float32(expected)
        assert np.float32(schedule(7 * epoch + 6)) == np.float32(expected)
    assert np.float32(schedule(7 * 140)) == np.float32(1e-6)


def test_a_warm_up_may_take_all_updates_of_a_cosine():
    schedule = learning_rate(1, 4, schedule="cosine", initial=1.0, warmup=4)
    assert float(schedule(0)) == 0.25
    with pytest.raises(InputError, match=r"at most the updates .* got 5 for 4"):
        learning_rate(1, 4, schedule="cosine", warmup=5)


def test_muon_steps_alike_in_all_directions_of_a_matrix():
    """A step of RMS 0.2 · rate in 16x8: all of its singular values are 0.2 · rate · sqrt(16)."""
    rng = np.random.default_rng(0)
    left, _ = np.linalg.qr(rng.standard_normal((16, 8)))
    right, _ = np.linalg.qr(rng.standard_normal((8, 8)))
    kernel = left @ np.diag(np.geomspace(1e-4, 5e-3, 8)) @ right  # below the norm of the clip
    gradient = {"kernel": jnp.float32(kernel), "depthwise": jnp.full((3, 3, 1, 2), 1e-3)}
    params = jax.tree.map(jnp.zeros_like, gradient)
    optimizer = muon(learning_rate(1, initial=0.5))
    step, state = optimizer.update(gradient, optimizer.init(params), params)
    assert int(update_count(state)) == 1
    turned = left.T @ (-np.float64(step["kernel"]) / (0.2 * 0.5 * 4)) @ right.T
    # Five steps of Newton and Schulz, as Muon has them, end between 0.7 and 1.2.
    assert np.diag(turned).min() > 0.65 and np.diag(turned).max() < 1.25
    assert abs(turned - np.diag(np.diag(turned))).max() < 1e-4
    # What is no matrix: Adam with Nesterov's momentum, 0.9 · 0.1 g / 0.19 + g for the first.
    np.testing.assert_allclose(step["depthwise"], -0.5 * (0.9 * 0.1 / 0.19 + 1), rtol=1e-4)


def rates(**options) -> list[float]:
    schedule = learning_rate(10, 8, initial=1.0, floor=0.1, **options)
    return [float(schedule(count)) for count in range(9)]


def test_cosine_goes_from_the_initial_rate_to_the_floor():
    expected = [0.1 + 0.9 * (1 + math.cos(math.pi * count / 8)) / 2 for count in range(9)]
    assert rates(schedule="cosine") == pytest.approx(expected, rel=1e-6)
    assert rates(schedule="constant") == [1.0] * 9


def test_a_warm_up_rises_evenly_to_the_schedule():
    cosine = rates(schedule="cosine")
    assert rates(schedule="cosine", warmup=4) == pytest.approx(
        [0.25, 0.5, 0.75, cosine[3], *cosine[4:]], rel=1e-6
    )
    assert rates(schedule="staircase", warmup=2) == [0.5, *[1.0] * 8]


def test_each_module_ends_its_cosine_with_the_run():
    config = configs.release()
    config.reconstruction_epochs, config.fusion_epochs = 1, 2
    config.learning_rate.schedule = "cosine"
    optimizers = make_optimizers(config, steps_per_epoch=5)
    for module, updates in zip(MODULES, (15, 15, 10, 10), strict=True):
        assert float(optimizers[module].rate(updates)) == pytest.approx(1e-6, rel=1e-4)
        assert float(optimizers[module].rate(updates - 1)) > 1.2e-6


class CountOnly:
    def __init__(self, count):
        self.count = count


def test_the_running_mean_by_hand():
    """Params go 0, 1, 2, 3; the mean moves by max(1 - 0.8, 9/10, 9/11, 9/12) of the way."""
    climb = Optimizer(
        init=lambda params: (None, CountOnly(jnp.zeros((), jnp.int32))),
        update=lambda gradient, state, _params: (jax.tree.map(jnp.ones_like, gradient), state),
        rate=lambda count: 1.0,
    )
    optimizers = dict.fromkeys(MODULES, climb)
    stage = Stage("fusion", lambda params, *_, of_whole_batch: (params["encoder"], {}), MODULES)
    state = init_state(dict.fromkeys(MODULES, jnp.float32(0)), optimizers, ema=True)
    image, mean = jnp.zeros((1, 2, 2, 1)), 0.0
    for number, share in enumerate((9 / 10, 9 / 11, 9 / 12)):
        state, _ = update(state, image, image, stage=stage, optimizers=optimizers, ema=0.8)
        mean += share * (number + 1 - mean)
        assert float(state.params["decoder"]) == number + 1
        assert float(state.fusing_params["decoder"]) == pytest.approx(mean, rel=1e-6)
    late = state.replace(step=jnp.int32(1000))
    late, _ = update(late, image, image, stage=stage, optimizers=optimizers, ema=0.8)
    assert float(late.ema["decoder"]) == pytest.approx(mean + 0.2 * (4 - mean), rel=1e-6)
