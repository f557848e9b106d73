"""Writing a .pth file as `torch.save` lays it out, without PyTorch.

A zip of a pickle and of raw storages, all uncompressed. The pickle names `torch.FloatStorage` and
`torch._utils._rebuild_tensor_v2`, which Python's pickler cannot without importing torch: so its few
opcodes are written here.
"""

import os
import pickle
import struct
import zipfile
from collections.abc import Mapping

import numpy as np

from cddfuse_jax.files import replacing

_PROTO, _STOP = b"\x80\x02", b"."
_MARK, _TUPLE, _SETITEMS, _REDUCE, _PERSISTENT = b"(", b"t", b"u", b"R", b"Q"
_EMPTY_TUPLE, _EMPTY_DICT, _FALSE = b")", b"}", b"\x89"


def write_pth(path: str | os.PathLike, state_dicts: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Write a dict of state dicts of float32 arrays."""
    arrays = [array for tensors in state_dicts.values() for array in tensors.values()]
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr("archive/data.pkl", _PROTO + _content(state_dicts) + _STOP)
        archive.writestr("archive/byteorder", "little")
        for key, array in enumerate(arrays):
            archive.writestr(f"archive/data/{key}", np.asarray(array, "<f4").tobytes())
        archive.writestr("archive/version", "3\n")


def _content(state_dicts: Mapping[str, Mapping[str, np.ndarray]]) -> bytes:
    items, key = [], 0
    for module, tensors in state_dicts.items():
        entries = []
        for name, array in tensors.items():
            entries += [_text(name), _tensor(str(key), array.shape)]
            key += 1
        items += [_text(module), _ordered_dict(entries)]
    return _EMPTY_DICT + _MARK + b"".join(items) + _SETITEMS


def _tensor(key: str, shape: tuple[int, ...]) -> bytes:
    """Call _rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)."""
    size = int(np.prod(shape, dtype=np.int64))
    strides = tuple(np.array(np.empty(shape, np.int8).strides, int).tolist())
    storage = [_text("storage"), _global("torch", "FloatStorage"), _text(key), _text("cpu")]
    arguments = [
        _tuple([*storage, _integer(size)]) + _PERSISTENT,
        _integer(0),
        _tuple(map(_integer, shape)),
        _tuple(map(_integer, strides)),
        _FALSE,
        _ordered_dict([]),
    ]
    return _global("torch._utils", "_rebuild_tensor_v2") + _tuple(arguments) + _REDUCE


def _ordered_dict(entries: list[bytes]) -> bytes:
    empty = _global("collections", "OrderedDict") + _EMPTY_TUPLE + _REDUCE
    return empty + _MARK + b"".join(entries) + _SETITEMS


def _tuple(items) -> bytes:
    return _MARK + b"".join(items) + _TUPLE


def _global(module: str, name: str) -> bytes:
    return b"c" + f"{module}\n{name}\n".encode()


def _integer(number: int) -> bytes:
    encoded = pickle.encode_long(number)
    return b"\x8a" + bytes([len(encoded)]) + encoded


def _text(text: str) -> bytes:
    encoded = text.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded
