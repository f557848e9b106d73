"""Flicker of fused videos: changes that no source has."""

import itertools

import numpy as np
import pytest

from cddfuse_jax.errors import InputError
from cddfuse_jax.metrics import flicker
from cddfuse_jax.metrics.baselines import stretched

STILL = np.random.default_rng(0).integers(40, 200, (12, 16)).astype(np.uint8)


def test_a_fused_video_that_changes_as_its_sources_has_no_excess():
    rng = np.random.default_rng(1)
    visible = [rng.integers(0, 256, (12, 16), dtype=np.uint8) for _ in range(4)]
    infrared = [STILL] * 4
    found = flicker(visible, visible, infrared)
    steps = [np.abs(b.astype(int) - a).mean() for a, b in itertools.pairwise(visible)]
    assert found == (0, pytest.approx(np.mean(steps)), pytest.approx(np.mean(steps)), 0)


def test_a_stretch_of_each_frame_is_excess_of_what_stands_still():
    hot = STILL.copy()
    hot[0, 0] = 255  # one pixel that comes and goes sets the white of its frames
    sources = [STILL, hot, STILL]
    alone = [stretched(frame.astype(float)).astype(np.uint8) for frame in sources]
    low, high = 40.0, 255.0
    same = [np.clip(np.rint((x - low) / (high - low) * 255), 0, 255).astype(np.uint8)
            for x in sources]  # fmt: skip
    assert flicker(alone, sources, sources).excess > 10
    assert flicker(same, sources, sources).excess < 0.1


def test_frames_0_to_1_need_their_range_and_units_stay():
    video = [STILL, STILL + 10]
    unit = [frame / 255 for frame in video]
    with pytest.raises(InputError, match="either 0-1 or 0-255"):
        flicker(unit, unit, unit)
    assert flicker(unit, unit, unit, data_range=1).fused == pytest.approx(10)


@pytest.mark.parametrize(
    ("videos", "complaint"),
    [
        (([STILL], [STILL], [STILL]), "two frames and more"),
        (([STILL] * 3, [STILL] * 3, [STILL] * 2), "one ends early"),
        (([STILL] * 2, [STILL] * 2, [STILL[1:]] * 2), "frames have one size"),
    ],
)
def test_videos_that_do_not_fit_are_one_line(videos, complaint):
    with pytest.raises(InputError, match=complaint):
        flicker(*videos)
