"""Writes .pth files as torch.save lays them out, without PyTorch, and others that it never would.

Opcodes are put together by hand, so that a test can write any of them.
"""

import pickle
import struct
import zipfile
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np

_STORAGE_NAMES = {"f2": "HalfStorage", "f4": "FloatStorage", "f8": "DoubleStorage"}
_STORAGE_NAMES |= {"u2": "BFloat16Storage"}  # of its bits


class Global(NamedTuple):
    """A name that the unpickler has to find."""

    module: str
    name: str


class Call(NamedTuple):
    """The result of calling ``function`` with a tuple of arguments."""

    function: Any
    arguments: tuple


class Opcodes(NamedTuple):
    """Part of a pickle as it is: it must leave one object on the stack."""

    data: bytes


class Storage:
    """Numbers that several tensors may share."""

    def __init__(self, array: np.ndarray):
        self.array = array


class Tensor(NamedTuple):
    """A strided view of a storage, which may be wrong."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any


def tensor(array: np.ndarray) -> Tensor:
    """The tensor that torch would save for a C-contiguous array, with a storage of its own."""
    strides = tuple(
        stride // array.itemsize for stride in np.empty(array.shape, array.dtype).strides
    )
    return Tensor(Storage(np.ravel(array)), 0, array.shape, strides)


def write_pth(path, content, *, compression=zipfile.ZIP_STORED, order="<"):
    """Write nested dicts (`OrderedDict` where they are one) of arrays, tensors and plain values.

    ``content`` may hold any of the classes above. Returns ``path``.
    """
    storages: list[Storage] = []
    data = b"\x80\x02" + opcodes(content, storages) + b"."
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", "little" if order == "<" else "big")
        for key, storage in enumerate(storages):
            array = storage.array.astype(storage.array.dtype.newbyteorder(order))
            archive.writestr(f"archive/data/{key}", array.tobytes())
        archive.writestr("archive/version", "3\n")
    return path


def opcodes(value, storages: list[Storage]) -> bytes:
    """Pickle a value; storages that it refers to are appended to ``storages``."""

    def many(values):
        return b"".join(opcodes(item, storages) for item in values)

    match value:
        case Opcodes(data):
            return data
        case Global(module, name):
            return b"c" + f"{module}\n{name}\n".encode()
        case Call(function, arguments):
            return many([function, arguments]) + b"R"
        case Storage():
            if value not in storages:
                storages.append(value)
            name = Global("torch", _STORAGE_NAMES[value.array.dtype.str[1:]])
            key = str(storages.index(value))
            return many([("storage", name, key, "cpu", value.array.size)]) + b"Q"
        case Tensor():
            arguments = (*value, False, OrderedDict())
            return many([Call(Global("torch._utils", "_rebuild_tensor_v2"), arguments)])
        case np.ndarray():
            return many([tensor(value)])
        case bool():
            return b"\x88" if value else b"\x89"
        case None:
            return b"N"
        case int():
            encoded = pickle.encode_long(value)
            return b"\x8a" + bytes([len(encoded)]) + encoded
        case str():
            encoded = value.encode()
            return b"X" + struct.pack("<I", len(encoded)) + encoded
        case tuple():
            return b"(" + many(value) + b"t"
        case dict():
            items = b"(" + many(part for item in value.items() for part in item) + b"u"
            ordered = isinstance(value, OrderedDict)
            empty = many([Call(Global("collections", "OrderedDict"), ())]) if ordered else b"}"
            return empty + items
    raise TypeError(f"no opcodes for {type(value).__name__}")
