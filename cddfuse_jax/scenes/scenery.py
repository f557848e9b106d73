"""What stands in every procedural scene: sky, ground, road, buildings, trees, street lamps."""

import numpy as np

from cddfuse_jax.scenes.canvas import Canvas


def sky_and_ground(canvas: Canvas, horizon: float) -> None:
    """Paint a clouded sky, cold in infrared, over rough ground whose texture only light shows."""
    rng, start = canvas.rng, _first_row_of_ground(canvas, horizon)
    y = canvas.y[:start]
    clouds = canvas.noise(0.35, 4, (start, canvas.width))
    bright = 0.55 + 0.5 * y / horizon + 0.15 * clouds
    canvas.reflectance[:start] = 0
    # The sky shines by itself: no street lamp lights it.
    canvas.emission[:start] = bright * (canvas.daylight * (0.4 + 0.6 * canvas.daylight))
    canvas.warmth[:start] = 0.08 + 0.12 * y / horizon + 0.03 * clouds

    size = (canvas.height - start, canvas.width)
    relief = canvas.noise(0.25, 2, size)  # what both cameras see of the ground
    grain = canvas.noise(0.03, 4, size)  # grass and gravel: visible light only
    depth = (canvas.y[start:] - horizon) / (1 - horizon)
    soil = rng.uniform(0.25, 0.4) + 0.07 * relief
    canvas.reflectance[start:] = soil + (0.05 + 0.1 * depth) * grain
    canvas.warmth[start:] = rng.uniform(0.28, 0.4) + 0.06 * relief + 0.05 * depth


def _first_row_of_ground(canvas: Canvas, horizon: float) -> int:
    return int(np.ceil(horizon * canvas.height))


def road(canvas: Canvas, horizon: float) -> tuple[float, float, float]:
    """Paint the road; return x of its vanishing point, x at the lower edge, its half width there.

    Lane marks are paint: visible light shows them, in infrared they hardly differ.
    """
    rng, x = canvas.rng, canvas.x
    start = _first_row_of_ground(canvas, horizon)
    nearness = (canvas.y[start:] - horizon) / (1 - horizon)
    vanishing = canvas.span * rng.uniform(0.3, 0.7)
    foot = vanishing + rng.uniform(-0.3, 0.3)
    half = rng.uniform(0.35, 0.6)
    aside = x - (vanishing + (foot - vanishing) * nearness)
    width = 0.02 + half * nearness
    region = (slice(start, None), slice(None))
    size = (canvas.height - start, canvas.width)

    def band(centre, half_width):
        return region, np.clip((half_width - np.abs(aside - centre)) * canvas.height + 0.5, 0, 1)

    paving, asphalt = rng.uniform(0.4, 0.5), rng.uniform(0.16, 0.28)
    gravel = canvas.noise(0.025, 3, size)
    canvas.paint(band(0, width * 1.35), paving + 0.06 * gravel, 0.38)
    warm = rng.uniform(0.42, 0.55) + 0.04 * canvas.noise(0.2, 2, size)
    canvas.paint(band(0, width), asphalt + 0.05 * gravel, warm)
    dashes = (1.2 / (nearness + 0.12) + rng.random()) % 1 < 0.55
    canvas.paint(band(0, 0.018 * nearness + 0.001), np.where(dashes, 0.85, asphalt), None)
    for side in (-0.93, 0.93):
        canvas.paint(band(side * width, 0.014 * nearness + 0.001), 0.75, None)
    return vanishing, foot, half


def building(canvas: Canvas, x0: float, x1: float, horizon: float) -> None:
    """Paint a wall of bricks with rows of windows, perhaps a roof's edge and a sign."""
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
    fade = 0.08 * (y1 - y) / (y1 - y0)  # walls lose their heat upwards
    canvas.paint(shape, wall + 0.12 * mortar + 0.05 * stains, warm - fade + 0.02 * stains)

    pitch = rng.uniform(0.07, 0.11)
    across = max(1, int((x1 - x0 - 0.02) / pitch))
    down = max(1, int((y1 - y0 - 0.05) / (1.2 * pitch)))
    u, v = (x - x0 - 0.01) / pitch, (y - y0 - 0.03) / (1.2 * pitch)
    inside = (u >= 0) & (u < across) & (v >= 0) & (v < down)
    glass = inside & (np.abs(u % 1 - 0.5) < 0.28) & (np.abs(v % 1 - 0.5) < 0.3)
    frame = inside & (np.abs(u % 1 - 0.5) < 0.36) & (np.abs(v % 1 - 0.5) < 0.37)
    cell = (np.clip(v, 0, down - 1).astype(np.intp), np.clip(u, 0, across - 1).astype(np.intp))
    lit = (rng.random((down, across)) < 0.3 * (canvas.daylight < 0.6))[cell]
    leak = (0.2 * rng.random((down, across), np.float32) ** 3)[cell]
    canvas.paint((shape[0], frame), min(wall + 0.25, 0.8), None)
    # Glass mirrors the cold sky in infrared, whether or not a lamp burns behind it.
    canvas.paint((shape[0], glass), 0.1, warm - 0.2 + leak, 0.75 * lit)
    canvas.paint(canvas.box(x0 - 0.008, y0 - 0.012, x1 + 0.008, y0 + 0.008), wall * 0.6, warm - 0.1)
    if rng.random() < 0.7 and x1 - x0 > 0.24:
        sign(canvas, x0 + rng.uniform(0.03, x1 - x0 - 0.19), y1 - rng.uniform(0.06, 0.09), warm)


def sign(canvas: Canvas, x: float, y: float, warm: float) -> None:
    """Paint a board with marks like letters, of one temperature: infrared shows a blank board."""
    rng, tall = canvas.rng, 0.055
    dot = max(tall / 7, 1 / canvas.height)
    letters = rng.integers(3, 6)
    marks = np.zeros((7, 4 * letters + 1), np.float32)
    for letter in range(letters):
        strokes = marks[1:6, 4 * letter + 1 : 4 * letter + 4]
        strokes[:, rng.integers(3)] = 1
        strokes[rng.choice(3, 2, replace=False) * 2] = 1
        strokes[rng.integers(5), rng.integers(3)] = 0
    board = canvas.box(x, y, x + dot * marks.shape[1], y + dot * 7)
    (rows, columns), _ = board
    row = np.clip((canvas.y[rows] - y) / dot, 0, 6).astype(np.intp)
    column = np.clip((canvas.x[:, columns] - x) / dot, 0, marks.shape[1] - 1).astype(np.intp)
    ink = marks[row, column]
    shining = 0.6 * (canvas.daylight < 0.6 and rng.random() < 0.5)
    canvas.paint(board, 0.1 + 0.8 * ink, warm + 0.04, shining * ink)


def tree(canvas: Canvas, x: float, foot: float) -> None:
    """Paint a trunk and a ragged crown; its leaves are of one temperature."""
    rng = canvas.rng
    tall = rng.uniform(0.2, 0.42)
    trunk = 0.022 * tall / 0.3
    canvas.paint(canvas.box(x - trunk / 2, foot - 0.5 * tall, x + trunk / 2, foot), 0.12, 0.36)
    spread = tall * rng.uniform(0.3, 0.42)
    (rows, columns), _ = canvas.box(x - 1.3 * spread, foot - 1.15 * tall, x + 1.3 * spread, foot)
    y, x_all = canvas.y[rows], canvas.x[:, columns]
    size = (y.shape[0], x_all.shape[1])
    clumps, leaves = canvas.noise(0.05, 3, size), canvas.noise(0.016, 2, size)
    reach = np.hypot((x_all - x) / spread, (y - foot + 0.65 * tall) / (0.42 * tall))
    cover = np.clip((1 - reach - 0.22 * clumps) * 12 + 0.5, 0, 1)
    sunny = 0.1 * (foot - y) / tall
    canvas.paint(
        ((rows, columns), cover), 0.14 + sunny + 0.13 * leaves, 0.3 + 0.04 * clumps + 0.5 * sunny
    )


def pole(canvas: Canvas, x: float, foot: float) -> None:
    """Paint a street lamp: a thin cold post, with a lamp that burns when it is dark."""
    rng = canvas.rng
    tall, side = rng.uniform(0.3, 0.45), int(rng.choice((-1, 1)))
    thick = max(0.009, 1.2 / canvas.height)
    top = max(foot - tall, 0.03)
    canvas.paint(canvas.box(x - thick / 2, top, x + thick / 2, foot), 0.3, 0.2)
    arm = sorted((x, x + side * 0.07))
    canvas.paint(canvas.box(arm[0], top, arm[1], top + thick), 0.3, 0.2)
    lamp = x + side * 0.07
    burns = canvas.daylight < 0.6
    head = canvas.box(lamp - 0.018, top - 0.004, lamp + 0.018, top + 0.012, 0.008)
    canvas.paint(head, 0.5, 0.75 if burns else 0.3, 1.2 * burns)
    if burns:
        canvas.lamps.append((lamp, top + 0.01, 0.45, 0.1))
