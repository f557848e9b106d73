"""Published scores, for comparison: protocol `release`, rounded to two decimals."""

from typing import NamedTuple

from cddfuse_jax.errors import InputError
from cddfuse_jax.metrics.protocols import PAPER_SCORES

PAPER = "CDDFuse, CVPR 2023, tables 1, 2 and 5"
DIGITS = 2  # of every value
RETRAINED = "reported by a user who retrained the release on MSRS"


class Published(NamedTuple):
    """One published row: a method's mean scores over a test set, in the paper's order."""

    method: str
    source: str
    scores: dict[str, float]


class PublishedSet(NamedTuple):
    """A test set: how many pairs the published rows are over, and those rows."""

    pairs: int
    rows: tuple[Published, ...]


def _row(method: str, scores: str, source: str = PAPER) -> Published:
    return Published(method, source, dict(zip(PAPER_SCORES, map(float, scores.split()))))


# CDDFuse* has the weights trained for medical images, CDDFuse those for infrared and visible.
PUBLISHED = {
    "MSRS": PublishedSet(
        361,
        (
            _row("CDDFuse", "6.70 43.38 11.56 3.47 1.62 1.05 0.69 1.00"),
            _row("ReC", "6.61 43.24 9.77 2.16 1.44 0.71 0.50 0.85"),
            _row("DeF", "6.46 37.63 8.60 2.16 1.35 0.77 0.54 0.94"),
        ),
    ),
    "TNO": PublishedSet(
        25,
        (
            _row("CDDFuse", "7.12 46.00 13.15 2.19 1.76 0.77 0.54 1.03"),
            _row("CDDFuse, retrained", "7.14 45.34 13.68 2.46 1.65 0.81 0.56 0.97", RETRAINED),
            _row("ReC", "7.10 44.85 8.73 1.78 1.70 0.57 0.39 0.88"),
            _row("DeF", "6.95 38.41 8.21 1.78 1.64 0.60 0.41 0.96"),
            _row("U2F", "6.83 34.55 11.52 1.37 1.71 0.58 0.44 0.99"),
        ),
    ),
    "RoadScene": PublishedSet(
        50,
        (
            _row("CDDFuse", "7.44 54.67 16.36 2.30 1.81 0.69 0.52 0.98"),
            _row("CDDFuse, retrained", "7.34 49.64 16.44 2.39 1.74 0.68 0.55 0.91", RETRAINED),
            _row("ReC", "7.36 52.54 10.78 2.18 1.74 0.59 0.43 0.88"),
            _row("DeF", "7.23 44.44 10.22 2.25 1.69 0.63 0.48 0.89"),
            _row("U2F", "7.09 38.12 13.25 1.87 1.70 0.60 0.51 0.97"),
        ),
    ),
    "MRI-CT": PublishedSet(
        21,
        (
            _row("CDDFuse", "4.83 88.59 33.83 2.24 1.74 0.50 0.59 1.31"),
            _row("CDDFuse*", "4.88 79.17 38.14 2.61 1.41 0.61 0.68 1.34"),
        ),
    ),
    "MRI-PET": PublishedSet(
        42,
        (
            _row("CDDFuse", "4.24 81.72 28.04 1.87 1.82 0.66 0.65 1.46"),
            _row("CDDFuse*", "4.23 70.73 29.57 2.03 1.69 0.71 0.71 1.49"),
        ),
    ),
    "MRI-SPECT": PublishedSet(
        73,
        (
            _row("CDDFuse", "3.91 71.82 20.68 1.89 1.92 0.66 0.69 1.44"),
            _row("CDDFuse*", "3.90 58.31 20.87 2.49 1.35 0.97 0.78 1.48"),
        ),
    ),
}


def published_name(name: str) -> str:
    """Return the key of `PUBLISHED` that ``name`` means, whatever its case, with - or _."""
    wanted = name.lower().replace("_", "-")
    for key in PUBLISHED:
        if key.lower() == wanted:
            return key
    raise InputError(f"no published scores for dataset {name!r}; known: {', '.join(PUBLISHED)}")
