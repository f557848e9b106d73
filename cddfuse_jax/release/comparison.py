"""How near two float32 results are to the float64 truth: how a port is judged."""

import math
from typing import NamedTuple

import numpy as np
import scipy  # whose parts are imported when first used

RMS_FACTOR, MAX_FACTOR = 1.1, 1.5
TORCH_FACTOR = 2.0  # of `torch._dynamo.utils.same`
# An error counts as at least so much of the truth, where the release happens to be all but exact: a
# quarter of an epsilon, which rounding to float32 leaves, of its RMS; one of its maximum.
FLOORS = np.array([0.25, 1]) * np.finfo(np.float32).eps
TINY = np.finfo(np.float32).tiny
Size = tuple[float, float]  # root mean square and maximum of absolute numbers


class Errors(NamedTuple):
    """How far a feature or an image of a crop is from the truth, and the size of that itself."""

    name: str
    crop: str
    port: Size
    release: Size
    truth: Size


class Verdict(NamedTuple):
    """The port's errors over the release's for one feature or image, over all crops.

    ``error`` are the port's largest. ``rms`` is the geometric mean of the ratios of RMS, ``low``
    and ``high`` its 95 % interval (Student's t of the logarithms), ``worst`` the largest of them;
    ``max`` is the median of the ratios of maxima.
    """

    name: str
    error: Size
    rms: float
    low: float
    high: float
    worst: float
    max: float

    @property
    def holds(self) -> bool:
        """Whether the port is as near to the truth as the release; NaN is not."""
        return self.high <= RMS_FACTOR and self.max <= MAX_FACTOR


def compare(crop: str, port: dict, release32: dict, truth: dict) -> list[Errors]:
    """Compare features and images of one name and shape, in the order of ``truth``."""

    def size(array) -> Size:
        return float(np.sqrt(np.mean(np.square(array)))), float(np.abs(array).max())

    def error(found, expected) -> Size:
        alike = found.shape == expected.shape
        return size(np.float64(found) - expected) if alike else (math.inf, math.inf)

    return [
        Errors(name, crop, error(port[name], each), error(release32[name], each), size(each))
        for name, each in truth.items()
    ]


def judge(rows: list[Errors]) -> list[Verdict]:
    """Judge each feature and image over its crops, of which there must be two or more."""
    verdicts = []
    for name in dict.fromkeys(row.name for row in rows):
        sizes = np.array([row[2:] for row in rows if row.name == name])
        port, release, truth = sizes.swapaxes(0, 1)  # (crops, 2) each
        floor = np.maximum(FLOORS * truth, TINY)
        rms, largest = (np.maximum(port, floor) / np.maximum(release, floor)).T
        with np.errstate(invalid="ignore"):  # infinite where shapes differ
            logs = np.log(rms)
            half = scipy.stats.t.ppf(0.975, len(logs) - 1) * scipy.stats.sem(logs)
            ratios = np.exp(logs.mean() + half * np.array([0, -1, 1])).tolist()
        ratios += [float(rms.max()), float(np.median(largest))]
        verdicts.append(Verdict(name, tuple(port.max(0).tolist()), *ratios))
    return verdicts


def table(verdicts: list[Verdict], crops: int) -> str:
    """Return one line per feature and image, what PyTorch's rule says, and the verdict."""
    lines = [
        f"{'':16}{'RMS':>8}{'ratio':>7}{'95 %':>7}{'to':>6}{'worst':>7}{'max':>10}{'ratio':>7}"
    ]
    for row in verdicts:
        lines.append(
            f"{row.name:16}{row.error[0]:8.1e}{row.rms:7.2f}{row.low:7.2f}{row.high:6.2f}"
            f"{row.worst:7.2f}{row.error[1]:10.1e}{row.max:7.2f}{'' if row.holds else '  too far'}"
        )
    count, torch = len(verdicts), sum(row.worst <= TORCH_FACTOR for row in verdicts)
    lines.append(
        f"PyTorch's rule, RMS at most {TORCH_FACTOR}x on every crop: {torch} of {count} hold"
    )
    far = [row.name for row in verdicts if not row.holds]
    if far:
        return "\n".join([*lines, f"DOES NOT HOLD: {len(far)} of {count}: {', '.join(far)}"])
    rule = f"RMS at most {RMS_FACTOR}x the release's (interval's end), max {MAX_FACTOR}x (median)"
    return "\n".join([*lines, f"HOLDS: all {count} over {crops} crops; {rule}"])
