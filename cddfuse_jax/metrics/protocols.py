"""The ways of scoring: which scores belong together, and what they take of images in colour.

The protocol decides how a score is computed from a fused image and its two sources, nothing else.
The release's min-max stretch of every fused image belongs to fusing, not to scoring: every
protocol scores the images as they are, so whether they were stretched is for the program that made
them to say.
"""

from typing import NamedTuple

from cddfuse_jax.errors import InputError
from cddfuse_jax.metrics.no_reference import PREFIX, no_reference
from cddfuse_jax.metrics.record import Metric
from cddfuse_jax.metrics.scores import records

PAPER_SCORES = ("EN", "SD", "SF", "MI", "SCD", "VIF", "Qabf", "SSIM")  # of the paper's tables
_RELEASE = (*PAPER_SCORES, "AG", "CC", "MSE", "PSNR")
_VIFB = (
    "CE", "EN", "MI", "PSNR", "AG", "EI", "Qabf", "SD", "SF", "RMSE", "SSIM", "Qcb", "Qcv"
)  # fmt: skip
_TANG = (
    "EN", "MI", "SD", "SF", "MSE", "PSNR", "VIF", "AG", "SCD", "CC", "Qabf", "Nabf", "SSIM",
    "MS-SSIM", "FMI_pixel", "FMI_dct", "FMI_w",
)  # fmt: skip
_IVIF_ZOO = (
    "CE", "NMI", "QNCIE", "TE", "EI", "Qy", "Qcb", "EN", "MI", "SF", "AG", "SD", "CC", "SCD",
    "VIF", "MSE", "PSNR", "Qabf", "Nabf", "SSIM", "MS-SSIM",
)  # fmt: skip


class Protocol(NamedTuple):
    """A way of scoring.

    ``colour`` is "luma": grey is round(0.299 R + 0.587 G + 0.114 B), or "channels": each channel
    of the fused image is compared with that channel of the sources, or with a grey source, and a
    grey fused image with the lumas. ``metrics`` are its scores in the order of its tables;
    ``table`` names those that the terminal's table shows.
    """

    name: str
    summary: str
    colour: str
    metrics: dict[str, Metric]
    table: tuple[str, ...]

    @property
    def changes(self) -> tuple[Metric, ...]:
        """The scores that depart from the release's, and say why."""
        return tuple(metric for metric in self.metrics.values() if metric.change)

    def metric(self, name: str) -> Metric:
        """Return the score of that name: the protocol's own, of `METRICS`, or of pyiqa."""
        if name.startswith(PREFIX):
            return no_reference(name)
        found = self.metrics.get(name) or METRICS.get(name)
        if found is None:
            raise InputError(
                f"score {name!r} is unknown; choose from {', '.join(METRICS)}, or {PREFIX}NAME"
            )
        return found


def _protocol(name: str, summary: str, colour: str, order=(), table=()) -> Protocol:
    own = {record.name: record for record in records() if name in record.protocols}
    names = [*order, *sorted(own.keys() - set(order), key=str.lower)]
    return Protocol(name, summary, colour, {n: own[n] for n in names}, table or tuple(names))


_CORRECTED = [record.name for record in records() if record.change]
PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        _protocol(
            "release",
            "as in the PyTorch release and the paper's tables",
            "luma",
            _RELEASE,
            PAPER_SCORES,
        ),
        _protocol(
            "corrected",
            f"the release's formulas with {', '.join(sorted(_CORRECTED, key=_RELEASE.index))} put "
            "right; units and sums over the two sources stay",
            "luma",
            _RELEASE,
            PAPER_SCORES,
        ),
        _protocol("vifb", "as in the benchmark VIFB, colour channel by channel", "channels", _VIFB),
        _protocol(
            "tang", "as in the MATLAB evaluation of Linfeng Tang's repositories", "luma", _TANG
        ),
        _protocol("ivif_zoo", "as in eval_torch.py of IVIF_ZOO", "luma", _IVIF_ZOO),
        _protocol("papers", "further scores, each as its source defines it", "luma"),
    )
}

# Every score under its first definition.
METRICS: dict[str, Metric] = {}
for _name in ("release", "papers", "vifb", "tang", "ivif_zoo"):
    METRICS |= {n: m for n, m in PROTOCOLS[_name].metrics.items() if n not in METRICS}


def protocol_named(name: str) -> Protocol:
    """Return the protocol of that name."""
    if name not in PROTOCOLS:
        raise InputError(f"protocol {name!r} is unknown; choose from {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
