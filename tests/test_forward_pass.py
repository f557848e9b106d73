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
