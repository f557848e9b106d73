import numpy as np
import pytest

from cddfuse_jax.data.synthetic import synthetic_pair

SEEDS = range(24)


@pytest.fixture(scope="module")
def scenes():
    return [synthetic_pair(seed, 128, 128) for seed in SEEDS]


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


def test_what_is_warm_is_bright_in_infrared_only(scenes):
    gaps = []
    for visible, infrared in scenes:
        warm = infrared > 0.6
        assert 0.001 < warm.mean() < 0.6
        gaps.append(visible[warm].mean() - visible[~warm].mean())
    assert np.mean(gaps) < 0.1


def test_scenes_come_by_day_and_by_night(scenes):
    means = np.array([visible.mean() for visible, _ in scenes])
    assert (means < 0.3).sum() >= 4  # low light
    assert (means > 0.4).sum() >= 4
    assert max(visible.max() for visible, _ in scenes) > 0.95  # lamps
