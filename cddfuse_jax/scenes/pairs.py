"""Procedural infrared-visible pairs: street scenes drawn from a seed, the data without a download.

One scene is painted three times over: what surfaces reflect, how warm they are, and what light
they give off. Two cameras then look at it. Outlines are shared; bricks, leaves, lettering and
lamps are seen in visible light only; people and engines stand out in infrared only.
"""

from typing import NamedTuple

import numpy as np

from cddfuse_jax.scenes.canvas import Canvas
from cddfuse_jax.scenes.scenery import building, pole, road, sky_and_ground, tree
from cddfuse_jax.scenes.targets import person, smoke, vehicle


class Scene(NamedTuple):
    """Both images of a scene, float32 HxW in [0, 1], and the boolean HxW mask of warm targets."""

    visible: np.ndarray
    infrared: np.ndarray
    targets: np.ndarray


def synthetic_pair(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the pair of a seed: (visible, infrared), float32 HxW in [0, 1]."""
    scene = synthetic_scene(seed, height, width)
    return scene.visible, scene.infrared


def synthetic_scene(seed: int, height: int, width: int) -> Scene:
    """Draw the pair of a seed together with the mask of its people and vehicles."""
    rng = np.random.default_rng(seed)
    canvas = Canvas(rng, height, width)
    horizon = rng.uniform(0.3, 0.45)
    sky_and_ground(canvas, horizon)
    span, x = canvas.span, -rng.uniform(0, 0.2)
    while x < span:
        x += rng.uniform(0, 0.3) ** 2
        breadth = rng.uniform(0.2, 0.5)
        if rng.random() < 0.75:
            building(canvas, x, x + breadth, horizon)
        x += breadth
    for _ in range(rng.integers(1, 3 + int(2 * span))):
        tree(canvas, rng.uniform(0, span), horizon + rng.uniform(0.01, 0.1))
    vanishing, foot, half_road = road(canvas, horizon)
    for _ in range(rng.integers(1, 3 + int(span))):
        pole(canvas, rng.uniform(0, span), horizon + rng.uniform(0.04, 0.15))

    # Nearer things are lower in the image and hide what is behind: paint from far to near.
    for y in sorted(rng.uniform(0.08, 0.92, rng.integers(3, 5 + int(2 * span))).tolist()):
        nearness = y**1.3
        foot_y = horizon + (1 - horizon) * nearness
        if rng.random() < 0.4:
            lane = float(rng.choice((-0.5, 0.5))) * (0.03 + half_road * nearness)
            vehicle(canvas, vanishing + (foot - vanishing) * nearness + lane, foot_y, nearness)
        else:
            person(canvas, rng.uniform(0, span), foot_y, nearness)
    if rng.random() < 0.15:
        smoke(canvas, horizon)
    return Scene(_visible_camera(canvas), _infrared_camera(canvas), canvas.targets > 0.5)


def _visible_camera(canvas: Canvas) -> np.ndarray:
    """Daylight and lamps on what reflects, the lamps' glow, a soft shoulder, then shot noise."""
    light = np.full((canvas.height, canvas.width), canvas.daylight, np.float32)
    glow: np.ndarray = canvas.emission
    for x, y, brightness, reach in canvas.lamps:
        distance = np.square(canvas.x - x) + np.square(canvas.y - y)
        light += brightness / (1 + distance / (4 * reach * reach))
        glow = glow + 0.8 * brightness / (1 + distance * (25 / (reach * reach)))
    radiance = canvas.reflectance * light + glow
    signal = 1 - np.exp(-2.4 * radiance)
    # Photons arrive at random: the fewer, the noisier for their number; then the sensor's own.
    photons = 2500 * (canvas.daylight + 0.15)
    noise = canvas.rng.standard_normal(signal.shape, np.float32)
    signal += noise * np.sqrt(signal / photons + 0.006**2)
    return np.clip(signal, 0, 1, dtype=np.float32)


def _infrared_camera(canvas: Canvas) -> np.ndarray:
    """Take a slightly blurred picture of warmth with the fixed pattern of an uncooled sensor."""
    rng = canvas.rng
    padded = np.pad(canvas.warmth, 1, mode="edge")
    rows = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    signal = 0.25 * rows[:, :-2] + 0.5 * rows[:, 1:-1] + 0.25 * rows[:, 2:]
    signal += 0.008 * rng.standard_normal((1, canvas.width), np.float32)
    signal += 0.004 * rng.standard_normal((canvas.height, 1), np.float32)
    signal += 0.01 * rng.standard_normal(signal.shape, np.float32)
    return np.clip(signal, 0, 1, dtype=np.float32)
