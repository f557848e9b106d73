"""Synthetic infrared-visible pairs: simple street scenes from a seed, data without a download.

A scene is painted in layers, far to near: what surfaces reflect, how warm they are, what light they
give off. Outlines are shared; texture and lamps are seen in visible light only, people and engines
show in infrared only. Positions and lengths are in image heights, x to the right and y down.
"""

import numpy as np
import scipy  # whose parts are imported when first used


def synthetic_pair(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pair of a seed: (visible, infrared), float32 HxW in [0, 1]."""
    canvas = _Canvas(np.random.default_rng(seed), height, width)
    rng, span, horizon = canvas.rng, canvas.span, canvas.rng.uniform(0.3, 0.45)
    _sky_and_ground(canvas, horizon)
    for x in np.arange(-rng.uniform(0, 0.2), span, 0.35):
        _building(canvas, x, x + rng.uniform(0.15, 0.35), horizon)
    for _ in range(rng.integers(2, 4 + int(2 * span))):
        _post(canvas, rng.uniform(0, span), horizon + rng.uniform(0.02, 0.2))
    for depth in sorted(rng.uniform(0.08, 0.92, rng.integers(3, 5 + int(2 * span))).tolist()):
        foot, paint = horizon + (1 - horizon) * depth**1.3, (_vehicle, _person)[rng.integers(2)]
        paint(canvas, rng.uniform(0, span), foot, depth**1.3)
    light = np.maximum(canvas.reflectance, 0) * canvas.daylight + np.maximum(canvas.emission, 0)
    images = 1 - np.exp(-2.4 * light), scipy.ndimage.gaussian_filter(canvas.warmth, 0.7)
    noisy = [x + 0.01 * rng.standard_normal(x.shape, np.float32) for x in images]
    visible, infrared = np.clip(noisy, 0, 1, dtype=np.float32)
    return visible, infrared


class _Canvas:
    """The scene before the cameras, in layers of HxW float32.

    reflectance: share of light that comes back. warmth: what the infrared camera shows. emission:
    light given off, as a share of full daylight.
    """

    def __init__(self, rng: np.random.Generator, height: int, width: int):
        self.rng, self.height, self.span = rng, height, width / height
        self.y = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]
        self.x = ((np.arange(width, dtype=np.float32) + 0.5) / height)[None]
        self.layers = np.zeros((3, height, width), np.float32)
        self.reflectance, self.warmth, self.emission = self.layers
        # Day, dusk or night; the dark ones more often, since there infrared helps.
        low, high = ((0.75, 1.0), (0.3, 0.5), (0.12, 0.22))[rng.choice(3, p=(0.3, 0.3, 0.4))]
        self.daylight = rng.uniform(low, high)
        self.lit = self.daylight < 0.6  # lamps and windows are

    def box(self, x0, y0, x1, y1, surface, radius=0.0) -> None:
        """Paint a rounded rectangle with a surface: reflectance, warmth, emission."""
        edge = 1 / self.height
        rows = slice(*np.searchsorted(self.y[:, 0], (y0 - edge, y1 + edge)))
        columns = slice(*np.searchsorted(self.x[0], (x0 - edge, x1 + edge)))
        far_y = np.abs(self.y[rows] - (y0 + y1) / 2) - ((y1 - y0) / 2 - radius)
        far_x = np.abs(self.x[:, columns] - (x0 + x1) / 2) - ((x1 - x0) / 2 - radius)
        distance = np.hypot(np.maximum(far_x, 0), np.maximum(far_y, 0)) - radius
        distance += np.minimum(np.maximum(far_x, far_y), 0)
        self.paint(np.clip(0.5 - distance * self.height, 0, 1), surface, (rows, columns))

    def paint(self, cover, surface, where=()) -> None:
        """Cover the share ``cover`` (0 to 1) of each pixel with a surface."""
        for layer, value in zip(self.layers, surface, strict=True):
            layer[where] += cover * ((value[where] if np.ndim(value) else value) - layer[where])

    def noise(self, cell: float) -> np.ndarray:
        """Return smooth noise, HxW, mostly in [-1, 1], whose spots are as wide as ``cell``."""
        shape, step = self.warmth.shape, max(cell * self.height, 1)
        coarse = self.rng.uniform(-1, 1, [int(side / step) + 2 for side in shape])
        return scipy.ndimage.zoom(coarse.astype(np.float32), step, order=1)[: shape[0], : shape[1]]


def _sky_and_ground(canvas: _Canvas, horizon: float) -> None:
    """Paint clouds, soil with grain that visible light alone shows, and a road."""
    rng, y, clouds = canvas.rng, canvas.y, canvas.noise(0.2)
    bright = (0.55 + 0.5 * y / horizon + 0.15 * clouds) * canvas.daylight
    canvas.paint(y < horizon, (0, 0.08 + 0.12 * y / horizon + 0.03 * clouds, bright))
    grain, depth = canvas.noise(0.02), np.maximum(y - horizon, 0) / (1 - horizon)
    soil = rng.uniform(0.25, 0.4) + (0.08 + 0.2 * depth) * grain
    canvas.paint(y >= horizon, (soil, rng.uniform(0.28, 0.4) + 0.06 * clouds, 0))
    aside = np.abs(canvas.x - canvas.span * rng.uniform(0.3, 0.7)) - 0.02 - 0.5 * depth
    road = np.clip(-aside * canvas.height + 0.5, 0, 1) * (y >= horizon)
    canvas.paint(road, (rng.uniform(0.16, 0.28) + 0.05 * grain, rng.uniform(0.42, 0.55), 0))


def _building(canvas: _Canvas, x0: float, x1: float, horizon: float) -> None:
    """Paint a wall with stains, and windows, which mirror the cold sky in infrared."""
    rng, top = canvas.rng, horizon - canvas.rng.uniform(0.12, 0.3)
    wall, warm = rng.uniform(0.2, 0.6) + 0.08 * canvas.noise(0.03), rng.uniform(0.35, 0.55)
    canvas.box(x0, top, x1, horizon + 0.03, (wall, warm, 0))
    for x in np.arange(x0 + 0.03, x1 - 0.06, 0.08):
        for y in np.arange(top + 0.03, horizon - 0.05, 0.1):
            shining = 0.75 * (canvas.lit and rng.random() < 0.3)
            canvas.box(x, y, x + 0.045, y + 0.06, (0.1, warm - 0.2, shining))


def _post(canvas: _Canvas, x: float, foot: float) -> None:
    """Paint a cold post, whose lamp burns when it is dark."""
    top = max(foot - canvas.rng.uniform(0.3, 0.42), 0.03)
    canvas.box(x - 0.007, top, x + 0.007, foot, (0.65, 0.1, 0))
    lamp = (0.7, 0.75 if canvas.lit else 0.2, 1.2 * canvas.lit)
    canvas.box(x - 0.025, top - 0.01, x + 0.025, top + 0.015, lamp, 0.01)


def _person(canvas: _Canvas, x: float, foot: float, nearness: float) -> None:
    """Paint dark clothes: in infrared the head is brightest, then body, then legs."""
    tall, heat = 0.1 + 0.42 * nearness, canvas.rng.uniform(0.86, 1.0)
    coat, legs = canvas.rng.uniform(0.06, 0.32, 2).tolist()
    _parts(canvas, x, foot, tall, (
        (-0.075, 0.075, 0.5, 0.0, 0.03, legs, heat - 0.15, 0),
        (-0.12, 0.12, 0.84, 0.44, 0.05, coat, heat - 0.07, 0),
        (-0.053, 0.053, 1.01, 0.86, 0.05, 0.4, heat, 0),
    ))  # fmt: skip


def _vehicle(canvas: _Canvas, x: float, foot: float, nearness: float) -> None:
    """Paint a hot engine, warm tyres, cold glass, and lamps when it is dark."""
    paint, body = canvas.rng.uniform(0.08, 0.6), canvas.rng.uniform(0.58, 0.7)
    lamp = canvas.rng.uniform(0.5, 1.1) * canvas.lit
    _parts(canvas, x, foot, 0.09 + 0.42 * nearness, (
        (-0.45, -0.28, 0.25, 0.0, 0.03, 0.05, 0.88, 0),
        (0.28, 0.45, 0.25, 0.0, 0.03, 0.05, 0.88, 0),
        (-0.4, 0.4, 0.8, 0.4, 0.1, paint, body - 0.06, 0),
        (-0.33, 0.33, 0.74, 0.5, 0.05, 0.12, 0.36, 0),
        (-0.5, 0.5, 0.5, 0.1, 0.07, paint, body, 0),
        (-0.3, 0.3, 0.4, 0.16, 0.05, paint * 0.4, 0.95, 0),
        (-0.46, -0.32, 0.42, 0.3, 0.04, 0.5, body, lamp),
        (0.32, 0.46, 0.42, 0.3, 0.04, 0.5, body, lamp),
    ))  # fmt: skip


def _parts(canvas: _Canvas, x: float, foot: float, size: float, parts) -> None:
    """Paint boxes of left, right, top, bottom, radius (in sizes), reflectance, warmth, emission."""
    for left, right, top, bottom, radius, *surface in parts:
        sides = (x + left * size, foot - top * size, x + right * size, foot - bottom * size)
        canvas.box(*sides, surface, radius * size)
