"""The canvas of a procedural scene: what surfaces reflect, how warm they are, what light they give.

Positions and lengths are in image heights, x to the right and y down, so that a scene keeps its
proportions at every size.
"""

import numpy as np

Region = tuple[slice, slice]
Shape = tuple[Region, np.ndarray]  # where, and how much of each pixel is covered (0 to 1)


class Canvas:
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
        self.reflectance = np.empty((height, width), np.float32)
        self.warmth = np.empty((height, width), np.float32)
        self.emission = np.zeros((height, width), np.float32)
        self.targets = np.zeros((height, width), np.float32)
        # Daylight, dusk or night, the dark ones more often: there infrared helps.
        low, high = ((0.65, 0.95), (0.3, 0.5), (0.08, 0.2))[rng.choice(3, p=(0.3, 0.3, 0.4))]
        self.daylight = rng.uniform(low, high)
        self.lamps: list[tuple[float, float, float, float]] = []  # x, y, brightness, reach

    def box(self, x0: float, y0: float, x1: float, y1: float, radius: float = 0.0) -> Shape:
        """Outline a soft-edged rectangle with rounded corners; a disc if radius is half a side."""
        edge = 1 / self.height
        rows = slice(*(_pixel(y, self.height, self.height) for y in (y0 - edge, y1 + edge)))
        columns = slice(*(_pixel(x, self.height, self.width) for x in (x0 - edge, x1 + edge)))
        far_y = np.abs(self.y[rows] - (y0 + y1) / 2) - ((y1 - y0) / 2 - radius)
        far_x = np.abs(self.x[:, columns] - (x0 + x1) / 2) - ((x1 - x0) / 2 - radius)
        if radius:
            outside = np.hypot(np.maximum(far_x, 0), np.maximum(far_y, 0))
            distance = outside + np.minimum(np.maximum(far_x, far_y), 0) - radius
        else:
            distance = np.maximum(far_x, far_y)
        return (rows, columns), np.clip(0.5 - distance * self.height, 0, 1)

    def paint(self, shape: Shape, reflectance, warmth, emission=0.0, target=0.0) -> None:
        """Cover a shape with a surface; None leaves a layer as it is."""
        region, cover = shape
        layers = (self.reflectance, self.warmth, self.emission, self.targets)
        for layer, value in zip(layers, (reflectance, warmth, emission, target), strict=True):
            if value is not None:
                layer[region] += cover * (value - layer[region])

    def noise(self, cell: float, octaves: int, shape: tuple[int, int] | None = None) -> np.ndarray:
        """Smooth noise around 0, mostly within [-1, 1]: octaves of random grids, halved each time.

        ``cell`` is the first grid's spacing in image heights; spacings under 1.5 pixels are left
        out, since they would be white noise.
        """
        height, width = shape or (self.height, self.width)
        total = np.zeros((height, width), np.float32)
        spacing = max(cell * self.height, 1.5)
        for octave in range(octaves):
            if spacing < 1.5 or not total.size:
                break
            (top, down), (left, right) = (_grid(size, spacing) for size in (height, width))
            grid = self.rng.random((top[-1] + 2, left[-1] + 2), np.float32) * 2 - 1
            rows = grid[top] + down[:, None] * (grid[top + 1] - grid[top])
            steps = rows[:, 1:] - rows[:, :-1]
            total += (rows.take(left, 1) + right * steps.take(left, 1)) * 0.6**octave
            spacing /= 2
        return total


def _pixel(position: float, height: int, limit: int) -> int:
    return min(max(round(position * height), 0), limit)


def _grid(size: int, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """For every pixel the grid point before it and how far on it is, eased (0 to 1)."""
    position = np.arange(size, dtype=np.float32) / np.float32(spacing)
    before = position.astype(np.intp)
    part = position - before
    return before, part * part * (3 - 2 * part)
