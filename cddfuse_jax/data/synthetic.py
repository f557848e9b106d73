"""Synthetic infrared-visible pairs: street scenes painted from a seed, data without a download.

One scene is painted three times over: what surfaces reflect, how warm they are, and what light they
give off. Two cameras then look at it. Outlines are shared; bricks, leaves and lamps are seen in
visible light only; people and engines stand out in infrared only. Positions and lengths are in
image heights, x to the right and y down.
"""

from typing import NamedTuple

import numpy as np

Region = tuple[slice, slice]
Shape = tuple[Region, np.ndarray]  # where, and how much of each pixel is covered (0 to 1)


class Scene(NamedTuple):
    """Both images of a scene, float32 HxW in [0, 1], and the boolean HxW mask of warm targets."""

    visible: np.ndarray
    infrared: np.ndarray
    targets: np.ndarray


def synthetic_pair(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pair of a seed: (visible, infrared), float32 HxW in [0, 1]."""
    scene = synthetic_scene(seed, height, width)
    return scene.visible, scene.infrared


def synthetic_scene(seed: int, height: int, width: int) -> Scene:
    """Return the pair of a seed together with the mask of its people and vehicles."""
    rng = np.random.default_rng(seed)
    canvas = _Canvas(rng, height, width)
    horizon = rng.uniform(0.3, 0.45)
    _sky_and_ground(canvas, horizon)
    span, x = canvas.span, -rng.uniform(0, 0.2)
    while x < span:
        breadth = rng.uniform(0.2, 0.5)
        if rng.random() < 0.75:
            _building(canvas, x, x + breadth, horizon)
        x += breadth + rng.uniform(0, 0.3) ** 2
    for _ in range(rng.integers(1, 3 + int(2 * span))):
        _tree(canvas, rng.uniform(0, span), horizon + rng.uniform(0.01, 0.1))
    _road(canvas, horizon)
    for _ in range(rng.integers(2, 4 + int(2 * span))):
        _post(canvas, rng.uniform(0, span), horizon + rng.uniform(0.04, 0.2))
    # Nearer things are lower in the image and hide what is behind: paint from far to near.
    for depth in sorted(rng.uniform(0.08, 0.92, rng.integers(3, 5 + int(2 * span))).tolist()):
        nearness = depth**1.3
        foot = horizon + (1 - horizon) * nearness
        paint = _vehicle if rng.random() < 0.4 else _person
        paint(canvas, rng.uniform(0, span), foot, nearness)
    return Scene(_visible_camera(canvas), _infrared_camera(canvas), canvas.targets > 0.5)


class _Canvas:
    """The scene before the cameras, in layers of HxW float32.

    reflectance: share of light that comes back, 0 to 1. warmth: what the infrared camera will show,
    0 to 1. emission: light given off, where daylight on white is `daylight`. targets: 1 on people
    and vehicles. Each scene is by day, at dusk or at night.
    """

    def __init__(self, rng: np.random.Generator, height: int, width: int):
        self.rng, self.height, self.width = rng, height, width
        self.span = width / height
        self.y = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]
        self.x = ((np.arange(width, dtype=np.float32) + 0.5) / height)[None]
        layers = (np.zeros((height, width), np.float32) for _ in range(4))
        self.reflectance, self.warmth, self.emission, self.targets = layers
        # Daylight, dusk or night, the dark ones more often: there infrared helps.
        low, high = ((0.75, 1.0), (0.3, 0.5), (0.12, 0.22))[rng.choice(3, p=(0.3, 0.3, 0.4))]
        self.daylight = rng.uniform(low, high)
        self.lit = self.daylight < 0.6  # lamps and windows are

    def box(self, x0: float, y0: float, x1: float, y1: float, radius: float = 0.0) -> Shape:
        """Outline a soft-edged rectangle with rounded corners; a disc if radius is half a side."""
        rows = self._between(y0, y1, self.height)
        columns = self._between(x0, x1, self.width)
        far_y = np.abs(self.y[rows] - (y0 + y1) / 2) - ((y1 - y0) / 2 - radius)
        far_x = np.abs(self.x[:, columns] - (x0 + x1) / 2) - ((x1 - x0) / 2 - radius)
        outside = np.hypot(np.maximum(far_x, 0), np.maximum(far_y, 0)) if radius else 0
        inside = np.minimum if radius else (lambda distance, _: distance)
        distance = outside + inside(np.maximum(far_x, far_y), 0) - radius
        return (rows, columns), np.clip(0.5 - distance * self.height, 0, 1)

    def _between(self, low: float, high: float, limit: int) -> slice:
        edge = 1 / self.height
        ends = (round(end * self.height) for end in (low - edge, high + edge))
        return slice(*(min(max(end, 0), limit) for end in ends))

    def paint(self, shape: Shape, reflectance, warmth, emission=0.0, target=0.0) -> None:
        """Cover a shape with a surface; None leaves a layer as it is."""
        region, cover = shape
        layers = (self.reflectance, self.warmth, self.emission, self.targets)
        for layer, value in zip(layers, (reflectance, warmth, emission, target), strict=True):
            if value is not None:
                layer[region] += cover * (value - layer[region])

    def noise(self, cell: float, octaves: int, shape: tuple[int, int]) -> np.ndarray:
        """Smooth noise around 0, mostly within [-1, 1]: octaves of random grids, halved each time.

        ``cell`` is the first grid's spacing in image heights; spacings under 1.5 pixels are left
        out, since they would be white noise.
        """
        total = np.zeros(shape, np.float32)
        spacing = max(cell * self.height, 1.5)
        for octave in range(octaves):
            if spacing < 1.5 or not total.size:
                break
            (top, down), (left, right) = (_grid(size, spacing) for size in shape)
            grid = self.rng.random((top[-1] + 2, left[-1] + 2), np.float32) * 2 - 1
            rows = grid[top] + down[:, None] * (grid[top + 1] - grid[top])
            steps = rows[:, 1:] - rows[:, :-1]
            total += (rows.take(left, 1) + right * steps.take(left, 1)) * 0.6**octave
            spacing /= 2
        return total


def _grid(size: int, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """For every pixel the grid point before it and how far on it is, eased (0 to 1)."""
    position = np.arange(size, dtype=np.float32) / np.float32(spacing)
    before = position.astype(np.intp)
    part = position - before
    return before, part * part * (3 - 2 * part)


def _sky_and_ground(canvas: _Canvas, horizon: float) -> None:
    start = int(np.ceil(horizon * canvas.height))
    y, clouds = canvas.y[:start], canvas.noise(0.35, 4, (start, canvas.width))
    bright = 0.55 + 0.5 * y / horizon + 0.15 * clouds
    canvas.emission[:start] = bright * (canvas.daylight * (0.4 + 0.6 * canvas.daylight))
    canvas.warmth[:start] = 0.08 + 0.12 * y / horizon + 0.03 * clouds

    size = (canvas.height - start, canvas.width)
    relief = canvas.noise(0.25, 2, size)  # what both cameras see of the ground
    grain = canvas.noise(0.03, 4, size)  # grass and gravel: visible light only
    depth = (canvas.y[start:] - horizon) / (1 - horizon)
    soil = canvas.rng.uniform(0.25, 0.4) + 0.07 * relief
    canvas.reflectance[start:] = soil + (0.08 + 0.2 * depth) * grain
    canvas.warmth[start:] = canvas.rng.uniform(0.28, 0.4) + 0.06 * relief + 0.05 * depth


def _road(canvas: _Canvas, horizon: float) -> None:
    """Lane marks are paint: visible light shows them, in infrared they hardly differ."""
    rng = canvas.rng
    start = int(np.ceil(horizon * canvas.height))
    nearness = (canvas.y[start:] - horizon) / (1 - horizon)
    vanishing = canvas.span * rng.uniform(0.3, 0.7)
    aside = canvas.x - (vanishing + rng.uniform(-0.3, 0.3) * nearness)
    width = 0.02 + rng.uniform(0.35, 0.6) * nearness
    region, size = (slice(start, None), slice(None)), (canvas.height - start, canvas.width)

    def band(centre, half_width):
        return region, np.clip((half_width - np.abs(aside - centre)) * canvas.height + 0.5, 0, 1)

    asphalt = rng.uniform(0.16, 0.28)
    warm = rng.uniform(0.42, 0.55) + 0.04 * canvas.noise(0.2, 2, size)
    canvas.paint(band(0, width), asphalt + 0.05 * canvas.noise(0.025, 3, size), warm)
    dashes = (1.2 / (nearness + 0.12) + rng.random()) % 1 < 0.55
    canvas.paint(band(0, 0.018 * nearness + 0.001), np.where(dashes, 0.85, asphalt), None)


def _building(canvas: _Canvas, x0: float, x1: float, horizon: float) -> None:
    """Paint a wall of bricks with rows of windows."""
    rng = canvas.rng
    y0, y1 = horizon - rng.uniform(0.12, 0.4), horizon + rng.uniform(0.0, 0.06)
    shape = canvas.box(x0, y0, x1, y1)
    (rows, columns), _ = shape
    y, x = canvas.y[rows], canvas.x[:, columns]
    brick = max(0.016, 4 / canvas.height)
    course = np.floor((y - y0) / brick)
    mortar = ((y - y0) / brick - course < 0.25) | (
        ((x - x0) / (2.2 * brick) + 0.5 * (course % 2)) % 1 < 0.12
    )
    wall, warm = rng.uniform(0.2, 0.6), rng.uniform(0.35, 0.55)
    stains = canvas.noise(0.08, 3, (y.shape[0], x.shape[1]))
    canvas.paint(shape, wall + 0.12 * mortar + 0.05 * stains, warm + 0.02 * stains)
    pitch = rng.uniform(0.07, 0.11)
    across = max(1, int((x1 - x0 - 0.02) / pitch))
    down = max(1, int((y1 - y0 - 0.05) / (1.2 * pitch)))
    u, v = (x - x0 - 0.01) / pitch, (y - y0 - 0.03) / (1.2 * pitch)
    inside = (u >= 0) & (u < across) & (v >= 0) & (v < down)
    glass = inside & (np.abs(u % 1 - 0.5) < 0.28) & (np.abs(v % 1 - 0.5) < 0.3)
    cell = (np.clip(v, 0, down - 1).astype(np.intp), np.clip(u, 0, across - 1).astype(np.intp))
    shining = (rng.random((down, across)) < 0.3 * canvas.lit)[cell]
    # Glass mirrors the cold sky in infrared, whether or not a lamp burns behind it.
    canvas.paint((shape[0], glass), 0.1, warm - 0.2, 0.75 * shining)


def _tree(canvas: _Canvas, x: float, foot: float) -> None:
    """Paint a trunk and a ragged crown, whose leaves are of one temperature."""
    tall = canvas.rng.uniform(0.2, 0.42)
    trunk, spread = 0.07 * tall, tall * canvas.rng.uniform(0.3, 0.42)
    canvas.paint(canvas.box(x - trunk / 2, foot - 0.5 * tall, x + trunk / 2, foot), 0.12, 0.36)
    (rows, columns), _ = canvas.box(x - 1.3 * spread, foot - 1.15 * tall, x + 1.3 * spread, foot)
    y, x_all = canvas.y[rows], canvas.x[:, columns]
    size = (y.shape[0], x_all.shape[1])
    clumps, leaves = canvas.noise(0.05, 3, size), canvas.noise(0.016, 2, size)
    reach = np.hypot((x_all - x) / spread, (y - foot + 0.65 * tall) / (0.42 * tall))
    cover = np.clip((1 - reach - 0.22 * clumps) * 12 + 0.5, 0, 1)
    canvas.paint(((rows, columns), cover), 0.17 + 0.13 * leaves, 0.33 + 0.04 * clumps)


def _post(canvas: _Canvas, x: float, foot: float) -> None:
    """Paint a cold lamp post, whose lamp burns when it is dark."""
    tall, thick = canvas.rng.uniform(0.3, 0.45), max(0.012, 1.5 / canvas.height)
    top = max(foot - tall, 0.03)
    canvas.paint(canvas.box(x - thick / 2, top, x + thick / 2, foot), 0.65, 0.1)
    head = canvas.box(x - 0.025, top - 0.01, x + 0.025, top + 0.015, 0.01)
    canvas.paint(head, 0.7, 0.75 if canvas.lit else 0.2, 1.2 * canvas.lit)


def _person(canvas: _Canvas, x: float, foot: float, nearness: float) -> None:
    """Dark clothes: in infrared the head is brightest, then body, then legs."""
    tall, heat = 0.1 + 0.42 * nearness, canvas.rng.uniform(0.86, 1.0)
    coat, legs = canvas.rng.uniform(0.06, 0.32, 2).tolist()
    for left, right, top, bottom, radius, reflectance, warmth in (
        (-0.075, -0.005, 0.5, 0.0, 0.03, legs, heat - 0.14),
        (0.005, 0.075, 0.5, 0.02, 0.03, legs, heat - 0.16),
        (-0.12, 0.12, 0.84, 0.44, 0.05, coat, heat - 0.07),
        (-0.053, 0.053, 1.01, 0.86, 0.05, 0.4, heat),
    ):
        box = (x + left * tall, foot - top * tall, x + right * tall, foot - bottom * tall)
        canvas.paint(canvas.box(*box, radius * tall), reflectance, warmth, target=1)


def _vehicle(canvas: _Canvas, x: float, foot: float, nearness: float) -> None:
    """Hot engine and tyres, cold glass, and lamps when it is dark."""
    wide = 0.09 + 0.42 * nearness
    tall = wide * canvas.rng.uniform(0.72, 0.85)
    paint, body = canvas.rng.uniform(0.08, 0.6), canvas.rng.uniform(0.58, 0.7)
    lamp = canvas.rng.uniform(0.5, 1.1) * canvas.lit
    for left, right, top, bottom, radius, reflectance, warmth, emission in (
        (-0.45, -0.28, 0.25, 0.0, 0.03, 0.05, 0.88, 0.0),
        (0.28, 0.45, 0.25, 0.0, 0.03, 0.05, 0.88, 0.0),
        (-0.4, 0.4, 1.0, 0.4, 0.1, paint, body - 0.06, 0.0),
        (-0.33, 0.33, 0.92, 0.58, 0.05, 0.12, 0.36, 0.0),
        (-0.5, 0.5, 0.62, 0.12, 0.07, paint, body, 0.0),
        (-0.3, 0.3, 0.5, 0.2, 0.05, paint * 0.4, 0.95, 0.0),
        (-0.46, -0.32, 0.52, 0.38, 0.04, 0.5, None, lamp),
        (0.32, 0.46, 0.52, 0.38, 0.04, 0.5, None, lamp),
    ):
        box = (x + left * wide, foot - top * tall, x + right * wide, foot - bottom * tall)
        canvas.paint(canvas.box(*box, radius * wide), reflectance, warmth, emission, 1)


def _visible_camera(canvas: _Canvas) -> np.ndarray:
    """Daylight on what reflects, a soft shoulder, then shot noise and the sensor's own."""
    light = np.maximum(canvas.reflectance, 0) * canvas.daylight + canvas.emission
    signal = 1 - np.exp(-2.4 * light)
    photons = 5000 * (canvas.daylight + 0.15)
    noise = canvas.rng.standard_normal(signal.shape, np.float32)
    signal += noise * np.sqrt(signal / photons + 0.006**2)
    return np.clip(signal, 0, 1, dtype=np.float32)


def _infrared_camera(canvas: _Canvas) -> np.ndarray:
    """Take a slightly blurred picture of warmth with the fixed pattern of an uncooled sensor."""
    rng = canvas.rng
    padded = np.pad(canvas.warmth, 1, mode="edge")
    rows = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    signal = 0.25 * rows[:, :-2] + 0.5 * rows[:, 1:-1] + 0.25 * rows[:, 2:]
    signal += 0.008 * rng.standard_normal((1, canvas.width), np.float32)
    signal += 0.004 * rng.standard_normal((canvas.height, 1), np.float32)
    signal += 0.01 * rng.standard_normal(signal.shape, np.float32)
    return np.clip(signal, 0, 1, dtype=np.float32)
