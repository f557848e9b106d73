"""Pictures of a decomposition: images, base maps and detail maps in a grid, and correlations."""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from cddfuse_jax.models import Residual
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.training.decomposing import Decomposition, decompose

GAP = 4  # pixels between the panels
ROWS, COLUMNS = ("visible", "infrared", "fused"), ("image", "base features", "detail features")
TEXT = 16  # height of a label in pixels
_BACKGROUND, _INK, _FAINT = 255, 0, 200


def decomposition_picture(
    model: CDDFuse,
    params,
    visible: Float[np.ndarray, "h w 1"],
    infrared: Float[np.ndarray, "h w 1"],
    residual: Residual,
) -> UInt8[np.ndarray, "height width"]:
    """Draw rows visible, infrared, fused and columns image, base features, detail features.

    Images are in [0, 1]. Without labels.
    """
    return grid(decompose(model, params, visible[..., 0], infrared[..., 0], residual))


def grid(parts: Decomposition) -> UInt8[np.ndarray, "height width"]:
    """Draw the nine panels: feature maps stretched from 1st to 99th percentile each."""
    features = [np.stack([stretch(panel) for panel in part]) for part in (parts.base, parts.detail)]
    rows = [
        np.concatenate([_framed(column[i]) for column in (parts.images, *features)], axis=1)
        for i in range(3)
    ]
    panels = np.concatenate(rows)[: -GAP or None, : -GAP or None]
    return np.rint(255 * np.clip(panels, 0, 1)).astype(np.uint8)


def labelled_grid(parts: Decomposition, title: str) -> UInt8[np.ndarray, "height width"]:
    """Draw `grid` under a title, the names of its columns and rows, and the correlations."""
    panels = grid(parts)
    height, width = ((side + GAP) // 3 for side in panels.shape)
    facts = (
        f"correlation of base {parts.cc_base:+.3f}, of detail {parts.cc_detail:+.3f}; "
        f"inverse of the detail branch off by {parts.inverse_error:.1e}, in float64 by "
        f"{parts.inverse_error_float64:.1e}"
    )
    top = 3 * TEXT
    canvas = _canvas(max(panels.shape[1], _length(facts), _length(title)), panels.shape[0] + top)
    canvas.paste(Image.fromarray(panels), (0, top))
    draw = ImageDraw.Draw(canvas)
    for line, text in enumerate((title, facts)):
        _write(draw, (2, line * TEXT), text)
    for column, name in enumerate(COLUMNS):
        _write(draw, (2 + column * width, 2 * TEXT), name)
    for row, name in enumerate(ROWS):
        place = 2, top + row * height
        draw.rectangle((0, place[1], _length(name) + 4, place[1] + TEXT), fill=_BACKGROUND)
        _write(draw, place, name)
    return np.asarray(canvas)


def distribution(values: dict[str, list[float]], title: str) -> UInt8[np.ndarray, "height width"]:
    """Draw how values from -1 to 1 are distributed: a dot per image, a bar at each mean."""
    width, lane, left = 560, 70, 130
    canvas = _canvas(left + width + 40, 2 * TEXT + lane * len(values) + 2 * TEXT)
    draw = ImageDraw.Draw(canvas)
    _write(draw, (4, 2), title)
    bottom = 2 * TEXT + lane * len(values)
    for tick in np.linspace(-1, 1, 9):
        x = left + (tick + 1) / 2 * width
        draw.line((x, 2 * TEXT, x, bottom), fill=_FAINT)
        _write(draw, (x - 14, bottom + 2), f"{tick:+.2f}")
    for number, (name, numbers) in enumerate(values.items()):
        middle = 2 * TEXT + lane * (number + 0.5)
        _write(draw, (4, middle - TEXT), name)
        _write(draw, (4, middle), f"mean {np.mean(numbers):+.3f}")
        for index, value in enumerate(numbers):
            # Spread over the lane by the golden ratio: equal values stay apart, and no chance.
            y = middle + (index * 0.618034 % 1 - 0.5) * lane * 0.6
            x = left + (value + 1) / 2 * width
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), outline=_INK, fill=_FAINT)
        x = left + (float(np.mean(numbers)) + 1) / 2 * width
        draw.line((x, middle - lane * 0.4, x, middle + lane * 0.4), fill=_INK, width=3)
    return np.asarray(canvas)


def stretch(panel: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Map the 1st percentile to 0 and the 99th to 1; a flat panel becomes 0.5."""
    low, high = np.percentile(panel, [1, 99])
    return np.full_like(panel, 0.5) if high <= low else np.clip((panel - low) / (high - low), 0, 1)


def _framed(panel: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "height width"]:
    return np.pad(panel, ((0, GAP), (0, GAP)), constant_values=1)


def _canvas(width: int, height: int) -> Image.Image:
    return Image.new("L", (int(width), int(height)), _BACKGROUND)


def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(TEXT - 4)


def _length(text: str) -> int:
    return int(_font().getlength(text)) + 6


def _write(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str) -> None:
    draw.text(place, text, fill=_INK, font=_font())
