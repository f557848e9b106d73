"""Which stored values become black and white, where the type of the numbers does not say it."""

from typing import NamedTuple

import numpy as np

from cddfuse_jax.errors import InputError

FEW = 0.05  # of the pixels: dead and hot ones
APART = 3  # outliers start beyond a gap of 3 times the central 90 % range
MOST_ROWS = 4  # of telemetry, at either end
NARROW = 0.25  # of a range: where the middle 90 % of the pixels fill less, something is wrong


class Percentiles(NamedTuple):
    """The percentiles of the pixels that become 0 and 1; values beyond them are clipped.

    With ``robust`` pixels that `kept` leaves out do not count; ``always`` is as in `Values`.
    """

    low: float = 0.1
    high: float = 99.9
    robust: bool = False
    always: bool = False


class Values(NamedTuple):
    """The stored values that become 0 and 1; with ``always`` of 8-bit images too."""

    low: float
    high: float
    always: bool = False


Range = Percentiles | Values
AUTO = Percentiles(robust=True)
BOTH = ("--range", "percentiles")  # options that are for both sides


def parse_range(given: str | tuple[float, float] | Range, option: str = "--range") -> Range:
    """Read a range: ``auto``, two percentiles ``LOW,HIGH`` or two stored values ``LOW:HIGH``.

    From Python a pair of numbers are percentiles, and a range stays what it is. That of one side
    (``option`` other than `BOTH`) is for 8-bit images too.

    Raises:
        InputError: none of these, or not LOW < HIGH, or percentiles beyond 0 to 100.
    """
    if isinstance(given, Range):
        return given
    text = ",".join(map(str, given)) if isinstance(given, tuple) else str(given)
    if text == "auto":
        return AUTO
    try:
        low, high = (float(part) for part in text.split(":" if ":" in text else ","))
    except ValueError:
        low, high = 1.0, 0.0
    kind: type[Range] = Values if ":" in text else Percentiles
    inside = np.isfinite([low, high]).all() if ":" in text else low >= 0 and high <= 100
    if not (low < high and inside):
        raise InputError(
            f"{option} is auto, two percentiles LOW,HIGH with 0 <= LOW < HIGH <= 100, or two "
            f"stored values LOW:HIGH, got {text!r}"
        )
    return kind(low, high, always=option not in BOTH)


def scene_rows(pixels: np.ndarray) -> slice:
    """Return the rows (of HxW) that show the scene: a camera's rows of telemetry are left out.

    Such rows are at most `MOST_ROWS` at the top or the bottom. The median step from them to the
    next row of the scene is more than `APART` times the scene's central 90 % range.
    """
    height = len(pixels)
    if height < 8 * MOST_ROWS:
        return slice(None)
    inside = pixels[MOST_ROWS:-MOST_ROWS].astype(np.float64)
    inside = inside[np.isfinite(inside)]
    if not inside.size:
        return slice(None)
    low, high = np.percentile(kept(inside), (5, 95))
    limit = max(float(high - low), 1e-30)

    def strange(row: int, following: int) -> bool:
        with np.errstate(invalid="ignore"):  # two infinite ones
            step = np.abs(pixels[row].astype(np.float64) - pixels[following].astype(np.float64))
        return bool(np.median(step) > APART * limit)

    top = max((n for n in range(1, MOST_ROWS + 1) if strange(n - 1, n)), default=0)
    bottom = max(
        (n for n in range(1, MOST_ROWS + 1) if strange(height - n, height - n - 1)), default=0
    )
    return slice(top, height - bottom)


def kept(values: np.ndarray) -> np.ndarray:
    """Return sorted finite values without the outliers at either end.

    Outliers lie beyond a gap of `APART` times the central 90 % range (counted without the least
    and the greatest value), and are all of one value (a margin without data, dead pixels) or at
    most `FEW` of the pixels. Hot objects stay where their blurred edges leave no such gap; smaller
    and much hotter ones are clipped to white.
    """
    ordered = np.sort(values, axis=None)
    start = np.searchsorted(ordered, ordered[0], "right")
    stop = np.searchsorted(ordered, ordered[-1])
    if start >= stop:
        return ordered
    most = max(1, int(0.9 * (stop - start)))  # pixels, of the values between
    spans = ordered[start + most - 1 : stop].astype(np.float64) - ordered[start : stop - most + 1]
    core = start + int(spans.argmin())
    gaps = np.flatnonzero(np.diff(ordered.astype(np.float64)) > APART * spans.min()) + 1
    if not spans.min():
        return ordered
    first, last, few = 0, ordered.size, FEW * ordered.size
    for end in gaps[gaps <= core]:
        if end - first > few and ordered[first] != ordered[end - 1]:
            break
        first = end
    for begin in gaps[gaps >= core + most][::-1]:
        if last - begin > few and ordered[begin] != ordered[last - 1]:
            break
        last = begin
    return ordered[first:last]
