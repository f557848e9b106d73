"""How near two float32 results are to the float64 truth: how a port is judged."""

from typing import NamedTuple

import numpy as np

FACTOR = 1.5
FLOOR = float(np.finfo(np.float32).eps)


class Comparison(NamedTuple):
    """How far a feature or an image is from the truth, here and in the release's own float32.

    Errors are maximum absolute differences over all numbers; ``largest`` is the truth's largest
    absolute value.
    """

    name: str
    port_error: float
    release_error: float
    largest: float

    @property
    def passes(self) -> bool:
        """Whether the port is as near to the truth as float32 lets one expect; NaN is not."""
        return self.port_error <= max(FACTOR * self.release_error, FLOOR * self.largest)


def compare(port: dict, release32: dict, truth: dict) -> list[Comparison]:
    """Compare features and images of one name and shape, in the order of ``truth``."""

    def error(array, expected):
        if array.shape != expected.shape:
            return float("inf")
        return float(np.abs(np.asarray(array, np.float64) - expected).max())

    return [
        Comparison(
            name,
            error(port[name], expected),
            error(release32[name], expected),
            float(np.abs(expected).max()),
        )
        for name, expected in truth.items()
    ]


def table(comparisons: list[Comparison]) -> str:
    """Return one line per feature and image, and the verdict as the last one."""
    lines = [f"{'':24}{'port error':>12}{'release float32':>17}{'ratio':>8}"]
    for row in comparisons:
        ratio = row.port_error / row.release_error if row.release_error else float("nan")
        verdict = "" if row.passes else "  too far"
        lines.append(
            f"{row.name:24}{row.port_error:12.2e}{row.release_error:17.2e}{ratio:8.2f}{verdict}"
        )
    far = [row.name for row in comparisons if not row.passes]
    if far:
        lines.append(f"NOT EQUAL: {len(far)} of {len(comparisons)} too far: {', '.join(far)}")
    else:
        lines.append(
            f"EQUAL: all {len(comparisons)} within {FACTOR}x the release's own float32 error"
        )
    return "\n".join(lines)
