"""What the makers publish of the chips that pods are made of."""

from typing import NamedTuple


class Chip(NamedTuple):
    """A TPU chip, by the figures that its maker publishes.

    Attributes:
        name: as in a topology's name.
        kind: what JAX calls its devices.
        flops: peak of bfloat16 products, a second.
        memory: bytes of HBM that a program may use: what the compiler allows, where that is known.
        bandwidth: of HBM, bytes a second.
        all_reduce: bytes a second that a chip passes on in an all-reduce over all its links: what
            is published for a pod, by its chips (v5p: half of its links' bandwidth in both
            directions).
        clock: cycles a second: ``flops`` over what the matrix units do in a cycle.
        dimensions: of the torus that the links make.
        chips_per_host: at most.
        source: page of these figures.
    """

    name: str
    kind: str
    flops: float
    memory: float
    bandwidth: float
    all_reduce: float
    clock: float
    dimensions: int
    chips_per_host: int
    source: str


_DOCS = "https://docs.cloud.google.com/tpu/docs/"
_MXU = 2 * 128 * 128  # flops of a 128x128 matrix unit in a cycle

CHIPS = (
    Chip("v4", "TPU v4", 275e12, 32 * 2**30, 1200e9, 1.1e15 / 4096, 275e12 / (8 * _MXU), 3, 4,
         _DOCS + "v4"),
    Chip("v5e", "TPU v5 lite", 197e12, 15.75 * 2**30, 819e9, 51.2e12 / 256, 197e12 / (4 * _MXU),
         2, 8, _DOCS + "v5e"),
    Chip("v5p", "TPU v5", 459e12, 95 * 2**30, 2765e9, 1200e9 / 2, 459e12 / (8 * _MXU), 3, 4,
         _DOCS + "v5p"),
    Chip("v6e", "TPU v6 lite", 918e12, 31.25 * 2**30, 1638e9, 102.4e12 / 256, 918e12 / (8 * _MXU),
         2, 8, _DOCS + "v6e"),
)  # fmt: skip


def chip_of(kind: str) -> Chip | None:
    """Return the chip that JAX calls ``kind``, or None where its figures are not known here."""
    return next((chip for chip in CHIPS if chip.kind == kind), None)
