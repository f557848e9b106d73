"""Reading a compiled program's text: what it moves, sends and repeats.

XLA's own totals count the body of a loop once. Here each instruction counts as often as it is run.
"""

import functools
import math
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

ITEM_BYTES = {
    "pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2,
    "f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8, "u64": 8,
}  # fmt: skip
COLLECTIVES = (
    "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute",
    "collective-broadcast",
)  # fmt: skip
# Name values, or start what another instruction ends: these move nothing.
_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional",
    "call", "after-all", "copy-done", "slice-done", "partition-id", "custom-call",
}  # fmt: skip
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](?:\{([^}]*)\})?")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")


class Array(NamedTuple):
    """An array of a program: of which type and shape, and how it lies in memory."""

    type: str
    shape: tuple[int, ...]
    layout: str

    @property
    def sent_bytes(self) -> int:
        """Its size without padding."""
        return ITEM_BYTES.get(self.type, 0) * math.prod(self.shape)

    @property
    def stored_bytes(self) -> int:
        """Its size where its fastest axes are filled up to whole tiles."""
        order, _, rest = self.layout.partition(":")
        tile = re.match(r"T\(([\d,]+)\)", rest)
        if not tile or not self.shape:
            return self.sent_bytes
        shape = [self.shape[int(axis)] for axis in order.split(",") if axis]
        for position, side in enumerate(reversed([int(n) for n in tile[1].split(",")])):
            if position < len(shape):
                shape[position] = -(-shape[position] // side) * side
        return ITEM_BYTES.get(self.type, 0) * math.prod(shape)

    @property
    def in_main_memory(self) -> bool:
        """Whether it lies in HBM; the compiler marks what lies elsewhere."""
        return "S(" not in self.layout


class Instruction(NamedTuple):
    """One line of a program."""

    name: str
    op: str
    outputs: list[Array]
    operands: list[str]
    line: str
    is_root: bool


class Totals(NamedTuple):
    """What one run of a program does, on one device.

    Attributes:
        bytes: read from and written to main memory, padding of tiles included.
        cycles: the compiler's own estimate of its instructions, one after the other; 0 where the
            compiler gives none.
        collectives: kind and bytes of each.
    """

    bytes: float
    cycles: float
    collectives: list[tuple[str, int]]


def arrays(text: str) -> list[Array]:
    """Return the arrays in a type as a program writes it."""
    return [
        Array(kind, tuple(int(n) for n in shape.split(",") if n), layout)
        for kind, shape, layout in _ARRAY.findall(text)
    ]


def totals(text: str) -> Totals:
    """Add up a compiled program's text, with loops as often as they turn."""
    computations, entry = _computations(text)
    moved = cycles = 0.0
    sent = []
    for instruction, times, defined in _run(computations, entry):
        kind = instruction.op.removesuffix("-start")
        if kind in COLLECTIVES:
            sent += [(kind, sum(array.sent_bytes for array in instruction.outputs))] * times
        if found := re.search(r'"estimated_cycles":"(\d+)"', instruction.line):
            cycles += times * int(found[1])
        if instruction.op not in _FREE and not instruction.op.endswith("-done"):
            moved += times * sum(_moved(instruction, defined, computations))
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
            found[name].append(_instruction(match[2], match[3], bool(match[1])))
    return found, entry


def _instruction(name: str, text: str, is_root: bool) -> Instruction:
    end = _closing(text) if text.startswith("(") else text.index(" ")
    written, rest = text[:end], text[end:].lstrip()
    op, _, rest = rest.partition("(")
    operands = re.findall(r"%([\w.\-]+)", rest[: _closing("(" + rest)])
    return Instruction(name, op, arrays(written), operands, rest, is_root)


def _closing(text: str) -> int:
    """Return where the parenthesis that opens ``text`` has closed."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return position + 1
    return len(text)


def _run(
    computations: dict[str, list[Instruction]], name: str, times: int = 1
) -> Iterator[tuple[Instruction, int, dict[str, Instruction]]]:
    """Yield every instruction that is run, how often, and what is defined beside it."""
    defined = {instruction.name: instruction for instruction in computations[name]}
    for instruction in computations[name]:
        yield instruction, times, defined
        called = functools.partial(_run, computations)
        if instruction.op == "while":
            condition, body = (_called(instruction, role) for role in ("condition", "body"))
            yield from called(body, times * _turns(computations[condition]))
        elif instruction.op == "call":
            yield from called(_called(instruction, "to_apply"), times)
        elif instruction.op == "conditional":
            branches = re.search(r"branch_computations=\{([^}]*)\}", instruction.line)
            names = re.findall(r"%([\w.\-]+)", branches[1]) if branches else []
            for branch in names[:1]:
                yield from called(branch, times)


def _called(instruction: Instruction, role: str) -> str:
    return re.findall(rf"{role}=%?([\w.\-]+)", instruction.line)[0]


def _turns(condition: list[Instruction]) -> int:
    """Return how often a loop turns that counts from 0 to the constant in its condition."""
    limits = [
        int(value[1])
        for instruction in condition
        if instruction.op == "constant" and (value := re.match(r"(\d+)\)", instruction.line))
    ]
    return max(limits, default=1)


def _moved(
    instruction: Instruction,
    defined: dict[str, Instruction],
    computations: dict[str, list[Instruction]],
) -> Iterator[int]:
    """Yield the bytes of all that an instruction reads and writes in main memory."""
    inside = computations.get(_fused(instruction), [])
    size = _whole
    if any(each.op == "dynamic-update-slice" and each.is_root for each in inside):
        size = functools.partial(_update, inside)  # writes into an array that stays where it is
    for array in instruction.outputs:
        if array.in_main_memory:
            yield size(array)
    for position, operand in enumerate(instruction.operands):
        source = defined.get(operand)
        for array in source.outputs if source and len(source.outputs) == 1 else ():
            if array.in_main_memory:
                yield _read(array, position, inside, size)


def _fused(instruction: Instruction) -> str:
    called = re.search(r"calls=%?([\w.\-]+)", instruction.line)
    return called[1] if instruction.op == "fusion" and called else ""


def _whole(array: Array) -> int:
    return array.stored_bytes


def _update(inside: list[Instruction], array: Array) -> int:
    root = next(each for each in inside if each.is_root)
    update = next(each for each in inside if each.name == root.operands[1])
    same = array.shape == root.outputs[0].shape
    return _whole(update.outputs[0]) if same and update.outputs else _whole(array)


def _read(array: Array, position: int, inside: list[Instruction], size: Callable) -> int:
    """Return what a fusion reads of an operand: the slices, where it takes nothing else of it."""
    names = {
        each.name for each in inside
        if each.op == "parameter" and each.line.startswith(f"{position})")
    }  # fmt: skip
    users = [each for each in inside if names & set(each.operands)]
    if users and all(each.op == "dynamic-slice" for each in users):
        return sum(_whole(each.outputs[0]) for each in users)
    return size(array)
