"""Reading a compiled program's text: what it moves, sends and repeats.

XLA's own totals count the body of a loop once. Here each instruction counts as often as it is run.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

COLLECTIVES = (
    "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute",
    "collective-broadcast",
)  # fmt: skip
# Name values, or start what another instruction ends: these move nothing.
_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional",
    "call", "after-all", "copy-done", "slice-done", "partition-id", "custom-call",
}  # fmt: skip
_NAME = r"%?([\w.\-]+)"
_ARRAY = re.compile(r"\b(?:pred|[a-z]+(\d+))\[([\d,]*)\](?:\{([^}]*)\})?")
_INSTRUCTION = re.compile(rf"^\s+(ROOT )?{_NAME} = (.*?) ([a-z][\w\-]*)\((.*)$")
_HEAD = re.compile(rf"^(ENTRY )?{_NAME} \(.*\{{$")


class Array(NamedTuple):
    """An array of a program; ``stored`` are its bytes where its fastest axes fill whole tiles."""

    shape: list[int]
    sent: int
    stored: int
    in_main_memory: bool  # the compiler marks what lies elsewhere


class Instruction(NamedTuple):
    """One line of a program; ``rest`` is what follows the operation's parenthesis."""

    is_root: bool
    name: str
    outputs: list[Array]
    op: str
    rest: str

    @property
    def operands(self) -> list[str]:
        """Names of what it reads."""
        return re.findall(r"%([\w.\-]+)", self.rest.partition("), ")[0])

    def called(self, role: str) -> str:
        """Return the computation that it runs in a role, "" if none."""
        found = re.search(rf"{role}=\{{?{_NAME}", self.rest)
        return found[1] if found else ""


class Totals(NamedTuple):
    """What one run of a program does, on one device."""

    bytes: float  # read from and written to main memory, padding of tiles included
    cycles: float  # the compiler's estimate, one instruction after the other; 0 if it gives none
    collectives: list[tuple[str, int]]  # kind and bytes of each


def totals(text: str) -> Totals:
    """Add up a compiled program's text, with loops as often as they turn."""
    computations, entry = _computations(text)
    moved = cycles = 0.0
    sent = []
    for instruction, times, defined in _run(computations, entry):
        kind = instruction.op.removesuffix("-start")
        if kind in COLLECTIVES:
            sent += [(kind, sum(array.sent for array in instruction.outputs))] * times
        if found := re.search(r'"estimated_cycles":"(\d+)"', instruction.rest):
            cycles += times * int(found[1])
        if instruction.op not in _FREE and not instruction.op.endswith("-done"):
            fused = instruction.called("calls") if instruction.op == "fusion" else ""
            moved += times * _moved(instruction, defined, computations.get(fused, []))
    return Totals(moved, cycles, sent)


def _computations(text: str) -> tuple[dict[str, list[Instruction]], str]:
    found: dict[str, list[Instruction]] = {}
    name = entry = ""
    for line in text.splitlines():
        if head := _HEAD.match(line):
            name = head[2]
            entry = name if head[1] else entry
            found[name] = []
        elif name and (match := _INSTRUCTION.match(line)):
            root, own, written, op, rest = match.groups()
            found[name].append(Instruction(bool(root), own, _arrays(written), op, rest))
    return found, entry


def _arrays(text: str) -> list[Array]:
    """Return the arrays in a type as a program writes it."""
    found = []
    for bits, sides, layout in _ARRAY.findall(text):
        shape = [int(side) for side in sides.split(",") if side]
        order, _, rest = layout.partition(":")
        filled = [shape[int(axis)] for axis in order.split(",") if axis] or list(shape)
        if tile := re.match(r"T\(([\d,]+)\)", rest):
            tiles = [int(side) for side in reversed(tile[1].split(","))]
            filled[: len(tiles)] = [
                -(-side // step) * step for side, step in zip(filled, tiles, strict=False)
            ]
        sent, stored = (int(bits or 8) // 8 * math.prod(sides) for sides in (shape, filled))
        found.append(Array(shape, sent, stored, "S(" not in layout))
    return found


def _run(
    computations: dict[str, list[Instruction]], name: str, times: int = 1
) -> Iterator[tuple[Instruction, int, dict[str, Instruction]]]:
    """Yield every instruction that is run, how often, and what is defined beside it."""
    defined = {instruction.name: instruction for instruction in computations[name]}
    for each in computations[name]:
        yield each, times, defined
        if each.op == "while":
            turns = _turns(computations[each.called("condition")])
            yield from _run(computations, each.called("body"), times * turns)
        elif each.op == "call":
            yield from _run(computations, each.called("to_apply"), times)
        elif each.op == "conditional" and (branch := each.called("branch_computations")):
            yield from _run(computations, branch, times)


def _turns(condition: list[Instruction]) -> int:
    """Return how often a loop turns that counts from 0 to the constant in its condition."""
    constants = (re.match(r"(\d+)\)", each.rest) for each in condition if each.op == "constant")
    return max((int(value[1]) for value in constants if value), default=1)


def _moved(
    instruction: Instruction, defined: dict[str, Instruction], inside: list[Instruction]
) -> int:
    """Return the bytes that an instruction reads and writes in main memory.

    A fusion, of the instructions ``inside``, may write into an array that stays where it is, and
    may read slices alone of another.
    """
    within = {each.name: each for each in inside}
    root = next((each for each in inside if each.is_root), None)

    def size(array: Array) -> int:
        if root and root.op == "dynamic-update-slice" and array.shape == root.outputs[0].shape:
            array = within[root.operands[1]].outputs[0]
        return array.stored

    moved = sum(size(array) for array in instruction.outputs if array.in_main_memory)
    for position, operand in enumerate(instruction.operands):
        read = defined[operand].outputs if operand in defined else []
        if len(read) != 1 or not read[0].in_main_memory:
            continue
        names = {
            each.name for each in inside
            if each.op == "parameter" and each.rest.startswith(f"{position})")
        }  # fmt: skip
        users = [each for each in inside if names & set(each.operands)]
        if users and all(each.op == "dynamic-slice" for each in users):
            moved += sum(each.outputs[0].stored for each in users)
        else:
            moved += size(read[0])
    return moved
