import numpy as np
import pytest

from cddfuse_jax.data.synthetic import (
    _Canvas,
    _infrared_camera,
    _visible_camera,
    synthetic_pair,
    synthetic_scene,
)

SEEDS = range(24)


@pytest.fixture(scope="module")
def scenes():
    return [synthetic_scene(seed, 128, 128) for seed in SEEDS]


def correlation(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def test_pair_is_a_function_of_its_arguments():
    for first, again in zip(synthetic_pair(7, 96, 130), synthetic_pair(7, 96, 130), strict=True):
        np.testing.assert_array_equal(first, again)
    assert not np.array_equal(synthetic_pair(7, 96, 130)[0], synthetic_pair(8, 96, 130)[0])


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (5, 300), (300, 5), (64, 64), (128, 160)])
def test_shape_type_and_range_at_any_size(size):
    for image in synthetic_pair(3, *size):
        assert image.shape == size
        assert image.dtype == np.float32
        assert np.isfinite(image).all()
        assert image.min() >= 0 and image.max() <= 1


def test_images_are_no_white_noise(scenes):
    # White noise: 0. Neighbours in a photograph: 0.9 and more.
    for scene in scenes:
        for image in (scene.visible, scene.infrared):
            assert correlation(image[:, 1:], image[:, :-1]) > 0.7
            assert correlation(image[1:], image[:-1]) > 0.7
    closeness = [correlation(s.visible[:, 1:], s.visible[:, :-1]) for s in scenes]
    assert np.mean(closeness) > 0.85


def test_targets_are_bright_in_infrared_only(scenes):
    gaps_infrared, gaps_visible = [], []
    for scene in scenes:
        assert 0.001 < scene.targets.mean() < 0.6
        inside, outside = scene.targets, ~scene.targets
        gaps_infrared.append(scene.infrared[inside].mean() - scene.infrared[outside].mean())
        gaps_visible.append(scene.visible[inside].mean() - scene.visible[outside].mean())
    assert min(gaps_infrared) > 0.15
    assert np.mean(gaps_visible) < 0.1


def test_cameras_share_structure_but_not_texture(scenes):
    def blur(image):  # means of 16x16 blocks
        return image.reshape(8, 16, 8, 16).mean((1, 3))

    def fine(image):  # what 4x4 block means leave
        return image - np.kron(image.reshape(32, 4, 32, 4).mean((1, 3)), np.ones((4, 4)))

    ground = slice(64, None)  # below every horizon
    roughness = [
        [np.abs(fine(image)[ground][~scene.targets[ground]]).mean() for image in scene[:2]]
        for scene in scenes
    ]
    visible, infrared = np.mean(roughness, axis=0)
    assert visible > 1.5 * infrared
    edges = [
        correlation(*(np.hypot(*np.gradient(blur(image))) for image in scene[:2]))
        for scene in scenes
    ]
    assert np.mean(edges) > 0.1


def test_scenes_come_by_day_and_by_night(scenes):
    means = np.array([scene.visible.mean() for scene in scenes])
    assert (means < 0.3).sum() >= 4  # low light
    assert (means > 0.4).sum() >= 4
    assert max(scene.visible.max() for scene in scenes) > 0.95  # lamps


def flat_canvas():
    canvas = _Canvas(np.random.default_rng(0), 400, 300)
    canvas.reflectance[:], canvas.warmth[:], canvas.daylight = 0.5, 0.5, 0.1
    return canvas


def test_infrared_noise_is_a_pattern_of_columns():
    image = _infrared_camera(flat_canvas())
    assert abs(image.mean() - 0.5) < 0.002
    # Per column 0.008, whatever the height; independent pixels alone leave 0.01 / sqrt(400).
    assert 0.007 < image.mean(0).std() < 0.009
    # One pixel to the next below: sqrt(2) of 0.01 and of the rows' 0.004.
    assert abs(np.diff(image, axis=0).std() - np.sqrt(2) * np.hypot(0.01, 0.004)) < 0.001


def test_visible_noise_is_of_photons():
    image = _visible_camera(flat_canvas())
    signal = 1 - np.exp(-2.4 * 0.5 * 0.1)
    assert abs(image.mean() - signal) < 0.001
    assert abs(image.std() - np.sqrt(signal / (5000 * 0.25) + 0.006**2)) < 0.0005
    assert image.mean(0).std() < 2 * image.std() / np.sqrt(400)  # no pattern


def test_box_covers_exactly_its_pixels():
    canvas = _Canvas(np.random.default_rng(0), 10, 20)
    region, cover = canvas.box(0.2, 0.3, 0.5, 0.6)
    whole = np.zeros((10, 20))
    whole[region] = cover
    expected = np.zeros((10, 20))
    expected[3:6, 2:5] = 1
    np.testing.assert_allclose(whole, expected, atol=1e-5)
    half = np.zeros((10, 20))
    region, cover = canvas.box(0.2, 0.3, 0.55, 0.6)  # half of column 5
    half[region] = cover
    np.testing.assert_allclose(half[4], expected[4] + 0.5 * (np.arange(20) == 5), atol=1e-5)


def test_noise_is_smooth_and_centred():
    canvas = _Canvas(np.random.default_rng(0), 256, 256)
    noise = canvas.noise(0.1, 1, (256, 256))
    assert abs(noise.mean()) < 0.1
    assert np.abs(noise).max() <= 1
    assert np.abs(np.diff(noise)).max() < 0.15  # eased steps over 25 pixels: at most 2 * 1.5 / 25
