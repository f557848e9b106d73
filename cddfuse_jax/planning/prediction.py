"""How long a program takes on a pod, by published figures and the compiler's own estimate."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from cddfuse_jax.planning.programs import Program
from cddfuse_jax.runtime.chips import Chip

LATENCY = 1e-6  # of a hop between chips, assumed


class Times(NamedTuple):
    """Seconds of one run of a program on each of ``chips`` chips.

    Attributes:
        chips: which share the work.
        compute: all products at the chip's peak of bfloat16.
        memory: all bytes at the published bandwidth of HBM.
        compiler: the compiler's own estimate of its instructions, at the clock that the peak
            implies: with what vector units do, which bound this network.
        interconnect: all collectives at the published bandwidth, and a latency for each hop.
    """

    chips: int
    compute: float
    memory: float
    compiler: float
    interconnect: float

    @property
    def step(self) -> float:
        """The longest of the first three, then the interconnect: nothing of it overlapped."""
        return max(self.compute, self.memory, self.compiler) + self.interconnect

    @property
    def bound_by(self) -> str:
        """The part that takes longest: "compute", "HBM", "instructions" or "interconnect"."""
        parts = {
            "compute": self.compute,
            "HBM": self.memory,
            "instructions": self.compiler,
            "interconnect": self.interconnect,
        }
        return max(parts, key=lambda name: parts[name])


def times(program: Program, chip: Chip, chips: int) -> Times:
    """Predict one run of ``program`` on each of ``chips`` chips."""
    totals = program.totals
    sent = sum(size for _, size in totals.collectives)
    # A ring in each direction of the torus passes everything twice, less the share of one chip.
    passed = 2 * sent * (chips - 1) / chips / chip.all_reduce
    hops = 2 * chip.dimensions * (chips ** (1 / chip.dimensions) - 1) * len(totals.collectives)
    return Times(
        chips=chips,
        compute=program.flops / chip.flops,
        memory=totals.bytes / chip.bandwidth,
        compiler=totals.cycles / chip.clock,
        interconnect=passed + LATENCY * hops,
    )


def scaling(program: Program, chip: Chip, counts: Sequence[int]) -> list[dict[str, Any]]:
    """Return a row for each count of chips: seconds, pairs a second, efficiency, utilisation."""
    rows = []
    for count in counts:
        each = times(program, chip, count)
        rows.append(
            {
                **each._asdict(),
                "step": each.step,
                "bound_by": each.bound_by,
                "pairs_per_second": count * program.pairs / each.step,
                "efficiency": times(program, chip, 1).step / each.step,
                "model_flops_utilisation": program.needed_flops / each.step / chip.flops,
            }
        )
    return rows


def largest_batch(program: Program, chip: Chip) -> int | None:
    """Return about how many pairs a chip could take, if temporary memory grows with them.

    Arguments and code are as large for any batch. None for a program so small that it takes none.
    """
    if not program.memory["temporary"]:
        return None
    fixed = program.memory["arguments"] + program.memory["outputs"] + program.memory["code"]
    return int((chip.memory - fixed) * program.pairs / program.memory["temporary"])


def remarks(program: Program, precision: str) -> list[str]:
    """Say what the compiler could not do well with the program."""
    totals, found = program.totals, []
    for share, what in (
        (totals.padding, "moves padding: axes that do not fill a tile of 8x128"),
        (totals.relayout, "only changes the order of arrays in memory"),
    ):
        if share > 0.1 * totals.bytes:
            found.append(f"{share / totals.bytes:.0%} of the traffic {what}")
    if precision == "float32":
        found.append("products of float32 are rounded to bfloat16, the default on TPUs")
    if precision == "highest":
        found.append("products of float32 are emulated by six of bfloat16 each")
    return found
