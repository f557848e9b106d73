"""What infrared is for: people and vehicles, warm and often hard to see, and smoke over them."""

import numpy as np

from cddfuse_jax.scenes.canvas import Canvas


def person(canvas: Canvas, x: float, foot: float, nearness: float) -> None:
    """Paint a walker in dark clothes: head brightest in infrared, then body, then legs."""
    rng = canvas.rng
    tall = 0.1 + 0.42 * nearness
    coat, legs = rng.uniform(0.06, 0.32, 2).tolist()
    heat = rng.uniform(0.86, 1.0)
    step = rng.uniform(-0.01, 0.03)

    def part(left, right, top, bottom, radius, reflectance, warmth):
        box = (x + left * tall, foot - top * tall, x + right * tall, foot - bottom * tall)
        canvas.paint(canvas.box(*box, radius * tall), reflectance, warmth, target=True)

    part(-0.07 - step, -0.005 - step, 0.5, 0.0, 0.03, legs, heat - 0.14)
    part(0.005 + step, 0.07 + step, 0.5, 0.02, 0.03, legs * 0.9, heat - 0.16)
    part(-0.12, -0.075, 0.8, 0.42, 0.022, coat * 0.8, heat - 0.12)
    part(0.075, 0.12, 0.8, 0.44, 0.022, coat * 0.8, heat - 0.12)
    part(-0.085, 0.085, 0.84, 0.44, 0.05, coat, heat - 0.07)
    part(-0.028, 0.028, 0.9, 0.8, 0.0, 0.45, heat - 0.02)
    part(-0.053, 0.053, 1.01, 0.9, 0.05, 0.1, heat - 0.06)  # hair
    part(-0.043, 0.043, 0.98, 0.86, 0.043, 0.5, heat)


def vehicle(canvas: Canvas, x: float, foot: float, nearness: float) -> None:
    """Paint a car from the front or behind: hot engine and tyres, cold glass, lamps when dark."""
    rng = canvas.rng
    wide = 0.09 + 0.42 * nearness
    tall = wide * rng.uniform(0.72, 0.85)
    coming = rng.random() < 0.5
    paint, body = rng.uniform(0.08, 0.6), rng.uniform(0.58, 0.7)
    dark = canvas.daylight < 0.6

    def part(left, right, top, bottom, radius, reflectance, warmth, emission=0.0, target=True):
        box = (x + left * wide, foot - top * tall, x + right * wide, foot - bottom * tall)
        shape = canvas.box(*box, radius * wide)
        canvas.paint(shape, reflectance, warmth, emission, target)

    # The shadow below is no target; in infrared the engine warms the road there.
    part(-0.5, 0.5, 0.08, -0.05, 0.03, 0.05, 0.6, target=False)
    for side in (-1, 1):
        left, right = sorted((side * 0.45, side * 0.28))
        part(left, right, 0.25, 0.0, 0.03, 0.05, 0.88)
    part(-0.4, 0.4, 1.0, 0.4, 0.1, paint, body - 0.06)
    part(-0.33, 0.33, 0.92, 0.58, 0.05, 0.12, 0.36)
    part(-0.5, 0.5, 0.62, 0.12, 0.07, paint, body)
    if coming:
        part(-0.3, 0.3, 0.5, 0.2, 0.05, paint * 0.4, rng.uniform(0.9, 1.0))
    else:
        part(-0.4, 0.4, 0.28, 0.14, 0.03, paint * 0.6, 0.75)
        part(-0.3, -0.2, 0.15, 0.08, 0.02, 0.1, 1.0)  # exhaust
    part(-0.12, 0.12, 0.3, 0.21, 0.0, 0.75, None)  # number plate
    strength = (1.1 if coming else 0.55) * dark
    for side in (-1, 1):
        left, right = sorted((side * 0.46, side * 0.32))
        part(left, right, 0.52, 0.38, 0.04, 0.7 if coming else 0.35, None, strength)
        if dark:
            lamp = (x + side * 0.39 * wide, foot - 0.45 * tall)
            canvas.lamps.append((*lamp, 0.5 * strength, 0.2 * wide))


def smoke(canvas: Canvas, horizon: float) -> None:
    """Paint a drifting cloud that visible light does not pass and infrared nearly does."""
    rng = canvas.rng
    x, y = canvas.span * rng.uniform(0.2, 0.8), horizon + rng.uniform(0.1, 0.3)
    wide, tall = rng.uniform(0.25, 0.45), rng.uniform(0.15, 0.25)
    billows = canvas.noise(0.15, 4)
    reach = np.square((canvas.x - x) / wide) + np.square((canvas.y - y) / tall)
    cover = np.clip(1.3 - reach + 0.6 * billows, 0, 1) * 0.95
    everywhere = (slice(None), slice(None))
    canvas.paint((everywhere, cover), 0.6 + 0.12 * billows, None, None, None)
    canvas.paint((everywhere, 0.12 * cover), None, 0.45, None, None)
