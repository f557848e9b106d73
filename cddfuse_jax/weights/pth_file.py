"""Reading a .pth state dict without PyTorch: a zip of raw storages and a pickle of what they are.

A pickle can call anything that it can name. This reader admits the few names that a state dict
needs and refuses every other; what it admits can neither run code, nor read outside the file, nor
take much more memory than the file is large.
"""

import math
import os
import zipfile
from collections import OrderedDict
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from cddfuse_jax.errors import InputError, escaped, one_line
from cddfuse_jax.weights.state_pickle import RefusedError, loads

_DTYPES = {
    ("torch", "FloatStorage"): "f4",
    ("torch", "DoubleStorage"): "f8",
    ("torch", "HalfStorage"): "f2",
    ("torch", "BFloat16Storage"): "bf2",  # NumPy has none: see `_Reader.storage`
    ("torch", "LongStorage"): "i8",
    ("torch", "IntStorage"): "i4",
    ("torch", "ShortStorage"): "i2",
    ("torch", "CharStorage"): "i1",
    ("torch", "ByteStorage"): "u1",
    ("torch", "BoolStorage"): "?",
}
SAVE = (
    "have the program that wrote it save the state dicts alone: torch.save({k: checkpoint[k] for k "
    "in ('DIDF_Encoder', 'DIDF_Decoder', 'BaseFuseLayer', 'DetailFuseLayer')}, 'weights.pth')"
)


class StoredTensor(NamedTuple):
    """A strided view of a storage, checked to lie inside it; `array` reads it."""

    storage: np.ndarray
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def of(cls, array: np.ndarray) -> "StoredTensor":
        """Return the tensor that is all of a contiguous array."""
        strides = tuple(stride // array.itemsize for stride in array.strides)
        return cls(array.reshape(-1), 0, array.shape, strides)

    def array(self) -> np.ndarray:
        """Return the tensor's values as an array of its own."""
        item = self.storage.itemsize
        view = np.lib.stride_tricks.as_strided(
            self.storage[self.offset :], self.shape, [item * stride for stride in self.strides]
        )
        return np.array(view, order="C")


def read_pth(path: str | os.PathLike) -> dict[str, Any]:
    """Read a .pth file that `torch.save` wrote (zip format, torch 1.6 or newer).

    Returns:
        The saved dict of state dicts, with a `StoredTensor` for each tensor.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            content = _Reader(archive).read()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: expected a .pth file, this is a folder") from None
    except zipfile.BadZipFile:
        raise InputError(
            f"{path}: truncated, or no PyTorch checkpoint (a zip as torch 1.6 or newer saves it)"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except RefusedError as refused:
        raise InputError(f"{path}: refused, {escaped(str(refused))}") from None
    except Exception as error:  # a broken pickle can fail in any way; none of them is ours to fix
        reason = one_line(f"{type(error).__name__}: {error}")
        raise InputError(f"{path}: broken checkpoint ({reason})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a dict of state dicts, found {type(content).__name__}")
    return content


class _Reader:
    def __init__(self, archive: zipfile.ZipFile):
        self.archive = archive
        self.storages: dict[str, np.ndarray] = {}
        # What is still to be read. Entries may overlap, and then be larger together than the file.
        self.unread = os.fstat(archive.fp.fileno()).st_size
        names = [name for name in archive.namelist() if PurePosixPath(name).name == "data.pkl"]
        if len(names) != 1:
            raise RefusedError(f"a checkpoint holds one data.pkl, this file holds {len(names)}")
        self.pickle_name = names[0]
        self.root = str(PurePosixPath(names[0]).parent)

    def read(self) -> Any:
        order = "<"
        if f"{self.root}/byteorder" in self.archive.namelist():
            order = ">" if self.stored(f"{self.root}/byteorder") == b"big" else "<"
        self.order = order
        data = self.stored(self.pickle_name)
        return loads(data, _found, self.storage_of)

    def stored(self, name: str) -> bytes:
        entry = self.archive.getinfo(name)
        if entry.compress_type != zipfile.ZIP_STORED:
            raise RefusedError(f"entry {name} is compressed, which torch.save never does")
        self.unread -= entry.file_size
        if self.unread < 0:
            raise RefusedError("its entries are together larger than the file")
        return self.archive.read(name)

    def storage_of(self, pid: Any) -> np.ndarray:
        kind, dtype, key, _location, _size = pid
        if kind != "storage" or dtype not in _DTYPES.values() or not isinstance(key, str):
            raise RefusedError("it refers to something else than a storage")
        return self.storage(key, dtype)

    def storage(self, key: str, dtype: str) -> np.ndarray:
        if key not in self.storages:
            data = self.stored(f"{self.root}/data/{key}")
            stored = np.frombuffer(
                data, np.dtype(dtype.replace("bf", "u")).newbyteorder(self.order)
            )
            if dtype == "bf2":  # the upper half of a float32
                stored = (stored.astype(np.uint32) << 16).view(np.float32)
            self.storages[key] = stored
        return self.storages[key]


def _rebuild_tensor(storage, offset, shape, strides, requires_grad=False, hooks=None, *_):
    del requires_grad, hooks
    listed = isinstance(shape, tuple | list) and isinstance(strides, tuple | list)
    if not (isinstance(storage, np.ndarray) and listed and len(shape) == len(strides)):
        raise RefusedError("a tensor is not built from a storage, sizes and strides")
    if len(shape) > 8:
        raise RefusedError(f"a tensor has {len(shape)} axes, no weight has more than 4")
    numbers = (offset, *shape, *strides)
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise RefusedError("a tensor has sizes or strides that are not whole numbers from 0")
    if max(shape, default=0) >= 2**63:
        raise RefusedError("a tensor has sizes beyond those of any array")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if math.prod(shape) > storage.size or (math.prod(shape) and last >= storage.size):
        raise RefusedError(f"a tensor of {tuple(shape)} reaches beyond its storage")
    # The stride of an axis of length 1 means nothing and may be any number.
    strides = (0 if n == 1 else stride for n, stride in zip(shape, strides, strict=True))
    return StoredTensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(tensor, requires_grad=True, hooks=None):
    del requires_grad, hooks
    if not isinstance(tensor, StoredTensor):
        raise RefusedError("a parameter is not built from a tensor")
    return tensor


_ADMITTED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    **_DTYPES,
}


def _found(module: str, name: str) -> Any:
    if (module, name) in _ADMITTED:
        return _ADMITTED[module, name]
    raise RefusedError(f"it names {module}.{name}, which no state dict of weights needs; {SAVE}")
