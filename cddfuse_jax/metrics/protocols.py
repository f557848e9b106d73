"""What each score means, and the two ways of scoring: as in the release, and corrected.

The protocol decides how a score is computed from a fused file and its two sources, nothing else.
The release's min-max stretch of every fused image belongs to fusing, not to scoring: either
protocol scores the files as they are, so whether they were stretched is for the program that made
them to say.
"""

from typing import NamedTuple

from cddfuse_jax.errors import InputError
from cddfuse_jax.metrics import METRICS
from cddfuse_jax.metrics.qabf import edge_preservation_corrected
from cddfuse_jax.metrics.signature import Score
from cddfuse_jax.metrics.similarity import peak_signal_to_noise_255, ssim_255


class Meaning(NamedTuple):
    """How a score is read: its unit, whether more is better, and what it measures."""

    unit: str
    higher_is_better: bool
    text: str


class Change(NamedTuple):
    """One departure of a protocol from the release, and the reason for it."""

    score: str
    change: str
    why: str
    function: Score


class Protocol(NamedTuple):
    """A way of scoring: a function per score, in the order of `METRICS`."""

    name: str
    summary: str
    scores: dict[str, Score]
    changes: tuple[Change, ...]


PAPER_SCORES = tuple(METRICS)[:8]  # the columns of the paper's tables

MEANINGS = {
    "EN": Meaning("bits", True, "entropy of the fused image's histogram; noise raises it too"),
    "SD": Meaning("grey levels", True, "contrast of the fused image; a stretch alone raises it"),
    "SF": Meaning("grey levels", True, "differences between neighbouring pixels"),
    "MI": Meaning("nats", True, "grey values shared with the sources; copying pixels raises it"),
    "SCD": Meaning("sum of 2", True, "what each source added to the other, found in the sources"),
    "VIF": Meaning("sum of 2", True, "visual information of the sources that survives"),
    "Qabf": Meaning("0 to 0.975", True, "edges of the sources that keep strength and direction"),
    "SSIM": Meaning("sum of 2", True, "local likeness to each source in mean, contrast, structure"),
    "AG": Meaning("grey levels", True, "mean gradient of the fused image; noise raises it too"),
    "CC": Meaning("-1 to 1", True, "mean linear correlation with the sources"),
    "MSE": Meaning("grey levels²", False, "mean squared error to the sources"),
    "PSNR": Meaning("dB", True, "peak signal over that error"),
}

CHANGES = (
    Change(
        "Qabf",
        "strength ratio 1 where both strengths are equal (release: the strength itself); "
        "orientations compared modulo pi; border repeated instead of zeros",
        "an edge kept exactly is the best case whatever its strength; edges at +89 and -89 degrees "
        "are 2 degrees apart, not 178; zeros draw a frame that all images share",
        edge_preservation_corrected,
    ),
    Change(
        "SSIM",
        "data range 255 instead of 2, in float64 instead of float32",
        "the constants that steady SSIM in flat regions scale with the data range; for values "
        "0-255 a range of 2 leaves noise of a fraction of a grey level to count as structure",
        ssim_255,
    ),
    Change(
        "PSNR",
        "peak 255 instead of the fused image's own maximum",
        "a peak that depends on the image rewards one bright pixel and cannot be compared",
        peak_signal_to_noise_255,
    ),
)

PROTOCOLS = {
    "release": Protocol(
        "release", "as in the PyTorch release and the paper's tables", dict(METRICS), ()
    ),
    "corrected": Protocol(
        "corrected",
        "the release's formulas with " + ", ".join(c.score for c in CHANGES) + " put right; "
        "units and sums over the two sources stay",
        METRICS | {change.score: change.function for change in CHANGES},
        CHANGES,
    ),
}


def protocol_named(name: str) -> Protocol:
    """Return the protocol of that name.

    Raises:
        InputError: there is none.
    """
    if name not in PROTOCOLS:
        raise InputError(f"protocol {name!r} is unknown; choose from {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
