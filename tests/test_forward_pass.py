"""The whole network beside its formula: fusing, reconstructing, both modalities, each platform."""

import functools

import numpy as np
import pytest
import reference
from numerics import assert_close, draw_params, evaluate

from cddfuse_jax.models import RESIDUALS
from cddfuse_jax.models.cddfuse import CDDFuse

SMALL = CDDFuse(features=8, heads=2, blocks=1, coupling_layers=2)
pytestmark = pytest.mark.usefixtures("x64")


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


def test_pairs_of_a_batch_do_not_touch():
    rng = np.random.default_rng(0)
    visible, infrared = rng.uniform(size=(2, 2, 3, 5, 1))
    params = draw_params(SMALL, visible, infrared)

    def fuse(visible, infrared):
        return SMALL.apply({"params": params}, visible, infrared)

    alone = [evaluate(fuse, visible[i : i + 1], infrared[i : i + 1]) for i in range(2)]
    assert abs(alone[0] - alone[1]).max() > 0.01
    assert_close(evaluate(fuse, visible, infrared), np.concatenate(alone), 1e-14)
