import numpy as np
import pytest

from cddfuse_jax.data.augmentation import Augmentation, CameraVariation

PAIR = {
    name: np.random.default_rng(seed).random((12, 10, 1), np.float32)
    for seed, name in enumerate(("visible", "infrared"))
}


def seen(variation: CameraVariation, seed: int = 0):
    return variation.seen(PAIR, np.random.default_rng(seed))


def test_without_variation_nothing_is_drawn():
    rng = np.random.default_rng(3)
    whole = Augmentation(0, False, CameraVariation()).random_map(PAIR, rng)
    assert rng.random() == np.random.default_rng(3).random()
    for name, image in PAIR.items():
        np.testing.assert_array_equal(whole[name], image)


def test_the_window_and_the_mirroring_do_not_depend_on_the_variation():
    plain, inverted = (
        Augmentation(4, True, variation).random_map(PAIR, np.random.default_rng(5))
        for variation in (CameraVariation(), CameraVariation(polarity=1))
    )
    np.testing.assert_array_equal(inverted["visible"], plain["visible"])
    np.testing.assert_array_equal(inverted["infrared"], 1 - plain["infrared"])


def test_polarity_is_the_infrared_images_alone_and_as_often_as_it_says():
    inverted = [
        np.array_equal(seen(CameraVariation(polarity=0.3), seed)["infrared"], 1 - PAIR["infrared"])
        for seed in range(400)
    ]
    assert 0.22 < np.mean(inverted) < 0.38


def test_gamma_is_one_power_per_image_evenly_above_and_below_one():
    powers = []
    for seed in range(200):
        for name, image in seen(CameraVariation(gamma=1.0), seed).items():
            power = np.log(image) / np.log(PAIR[name])
            np.testing.assert_allclose(power, power.flat[0], rtol=2e-3)
            powers.append(power.flat[0])
    assert 0.5 <= min(powers) < 0.55 and 1.85 < max(powers) <= 2.0001
    assert 0.4 < np.mean(np.array(powers) > 1) < 0.6
    assert powers[0] != pytest.approx(powers[1], rel=1e-3)  # each camera its own


def test_contrast_keeps_the_mean():
    pair = {name: 0.25 + image / 2 for name, image in PAIR.items()}  # nothing is clipped
    spreads = []
    for seed in range(100):
        for name, image in (
            CameraVariation(contrast=0.4).seen(pair, np.random.default_rng(seed)).items()
        ):
            assert image.mean() == pytest.approx(pair[name].mean(), abs=1e-6)
            spreads.append(image.std() / pair[name].std())
    assert 0.6 <= min(spreads) < 0.65 and 1.35 < max(spreads) <= 1.4001


def test_noise_is_drawn_for_each_pixel_and_stays_in_range():
    grey = {name: np.full((60, 60, 1), 0.5, np.float32) for name in PAIR}
    deviations = [
        image.std()
        for seed in range(50)
        for image in CameraVariation(noise=0.1).seen(grey, np.random.default_rng(seed)).values()
    ]
    assert min(deviations) < 0.01 and 0.09 < max(deviations) < 0.105
    loud = seen(CameraVariation(gamma=0.5, contrast=0.5, noise=0.5, polarity=0.5))
    for image in loud.values():
        assert image.dtype == np.float32
        assert image.min() >= 0 and image.max() <= 1
