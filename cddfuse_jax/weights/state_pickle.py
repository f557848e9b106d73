"""The pickle of a state dict, opcode by opcode: plain data, and calls of the few names admitted.

Python's own unpickler hashes whatever is a key, and tuples of tuples of tuples as keys take for
ever, or the stack. Here a key is a string or a number before it is hashed.
"""

import pickletools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

MOST_BYTES = 2**19  # of a pickle; that of CDDFuse's weights has some 30,000

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple
}  # fmt: skip
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PLAIN = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE",
    "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8",
}  # fmt: skip


class RefusedError(Exception):
    """The file asks for something that a state dict has no use for."""


def loads(data: bytes, find: Callable[[str, str], Any], storage_of: Callable[[Any], Any]) -> Any:
    """Return what a pickle holds.

    ``find`` returns what may be called, by module and name, or raises `RefusedError`;
    ``storage_of`` returns the storage of a persistent id.

    Raises:
        RefusedError: it is too long, or needs what no state dict needs.
        Exception: of any kind, if it is broken.
    """
    if len(data) > MOST_BYTES:
        raise RefusedError(
            f"its pickle has {len(data)} bytes, that of weights at most {MOST_BYTES}"
        )
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    argument: Any  # its type is the opcode's
    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name in _PLAIN:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            items = stack[-_TUPLES[name] :]
            del stack[-_TUPLES[name] :]
            stack.append(tuple(items))
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[argument])
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            if argument > len(data):
                raise RefusedError(f"its pickle numbers its objects up to {argument}")
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "TUPLE":
            stack.append(tuple(since_mark()))
        elif name == "LIST":
            stack.append(since_mark())
        elif name == "DICT":
            stack.append(_filled({}, since_mark()))
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else since_mark()
            list.extend(stack[-1], items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else since_mark()
            _filled(stack[-1], items)
        elif name in ("GLOBAL", "INST"):
            stack.append(find(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            symbol, module = stack.pop(), stack.pop()
            stack.append(find(str(module), str(symbol)))
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(_called(function, arguments))
        elif name == "BINPERSID":
            stack.append(storage_of(stack.pop()))
        elif name == "BUILD":
            stack.pop()  # attributes: a state dict has its versions there
            if not isinstance(stack[-1], OrderedDict):
                raise TypeError(f"attributes for {type(stack[-1]).__name__}")
        elif name == "STOP":
            return stack.pop()
        elif name == "FRAME":
            if argument > len(data):
                raise ValueError(f"a frame of {argument} bytes")
        elif name != "PROTO":
            raise RefusedError(f"its pickle uses {name}, which no state dict of weights needs")
    raise EOFError("the pickle has no end")


def _filled(target: dict, items: list[Any]) -> dict:
    if len(items) % 2:
        raise ValueError("a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | int):
            raise RefusedError(f"a key is a {type(key).__name__}, those of state dicts are strings")
        dict.__setitem__(target, key, value)
    return target


def _called(function: Any, arguments: Any) -> Any:
    if not isinstance(arguments, tuple):
        raise TypeError("arguments that are no tuple")
    if function is OrderedDict and arguments:
        raise RefusedError("an OrderedDict is made of something, torch.save fills it afterwards")
    return function(*arguments)
