import functools
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from pth_writer import Call, Global, Storage, Tensor, opcodes, write_pth
from stored import refusal

from cddfuse_jax.errors import InputError
from cddfuse_jax.weights.pth_file import read_pth

NUMBERS = Storage(np.arange(24, dtype=np.float32))
read_error = functools.partial(refusal, read_pth)


def read_value(path, value):
    """Write a value as the only one of a dict, and read it."""
    return read_pth(write_pth(path, {"it": value}))["it"]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "w.pth"


def test_state_dicts_keep_their_structure_and_values(file):
    first = np.arange(6, dtype=np.float32).reshape(2, 3)
    content = OrderedDict(a=OrderedDict(w=first, b=first[0]), empty={}, epoch=-7, done=True, x=None)
    read = read_pth(write_pth(file, content))
    np.testing.assert_array_equal(read["a"]["w"].array(), first)
    np.testing.assert_array_equal(read["a"]["b"].array(), first[0])
    assert read["empty"] == {}
    assert (read["epoch"], read["done"], read["x"]) == (-7, True, None)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_precisions_and_byte_orders(file, dtype, order):
    array = np.array([1 / 3, -2.5, 1e-4], dtype)
    read = read_pth(write_pth(file, {"it": array}, order=order))["it"].array()
    assert read.dtype.itemsize == array.itemsize
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "expected"),
    [
        (0, (4, 6), (6, 1), np.arange(24).reshape(4, 6)),
        (0, (6, 4), (1, 6), np.arange(24).reshape(4, 6).T),
        (7, (2, 3), (12, 2), [[7, 9, 11], [19, 21, 23]]),
        (5, (), (), 5),
        (23, (1,), (1,), [23]),
        (2, (2, 1, 2), (1, 2**70, 3), [[[2, 5]], [[3, 6]]]),  # an axis of 1 has any stride
        (3, (4,), (0,), [3, 3, 3, 3]),  # as torch's expand makes them
        (0, (0, 3), (3, 1), np.zeros((0, 3))),
    ],
)
def test_views_of_a_storage(file, offset, shape, strides, expected):
    array = read_value(file, Tensor(NUMBERS, offset, shape, strides)).array()
    assert array.flags.c_contiguous
    assert array.flags.writeable
    np.testing.assert_array_equal(array, np.asarray(expected, np.float32))


def test_tensors_may_share_a_storage(file):
    content = {"a": Tensor(NUMBERS, 0, (3,), (1,)), "b": Tensor(NUMBERS, 1, (2,), (1,))}
    read = read_pth(write_pth(file, content))
    assert zipfile.ZipFile(file).namelist().count("archive/data/0") == 1
    assert "archive/data/1" not in zipfile.ZipFile(file).namelist()
    array = read["a"].array()
    array[:] = -1  # what is read is a copy
    np.testing.assert_array_equal(read["b"].array(), [1, 2])


def test_parameters_and_metadata_as_torch_saves_them(file):
    """A parameter saved as such is wrapped; a state dict carries an attribute ``_metadata``."""
    array = np.arange(3, dtype=np.float32)
    wrapped = Call(Global("torch._utils", "_rebuild_parameter"), (array, True, OrderedDict()))
    storages = []
    state = opcodes(OrderedDict(w=wrapped), storages)
    metadata = opcodes({"_metadata": OrderedDict({"": {"version": 1}}), "items": 3}, storages)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + state + metadata + b"b.")
        archive.writestr("a/data/0", array.tobytes())
    read = read_pth(file)
    np.testing.assert_array_equal(dict.__getitem__(read, "w").array(), array)


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (Tensor(NUMBERS, 0, (25,), (1,)), "a tensor of (25,) reaches beyond its storage"),
        (Tensor(NUMBERS, 1, (24,), (1,)), "reaches beyond"),
        (Tensor(NUMBERS, 24, (1,), (1,)), "reaches beyond"),
        (Tensor(NUMBERS, 2**64, (1,), (1,)), "reaches beyond"),
        (Tensor(NUMBERS, 0, (2, 2), (23, 1)), "reaches beyond"),
        (Tensor(NUMBERS, 0, (5, 5), (0, 0)), "reaches beyond"),
        (Tensor(NUMBERS, 0, (2**40, 2**40), (0, 0)), "reaches beyond"),
        (Tensor(NUMBERS, -1, (2,), (1,)), "not whole numbers from 0"),
        (Tensor(NUMBERS, 0, (-1,), (1,)), "not whole numbers from 0"),
        (Tensor(NUMBERS, 0, (2, -3), (1, 1)), "not whole numbers from 0"),
        (Tensor(NUMBERS, 5, (2,), (-1,)), "not whole numbers from 0"),
        (Tensor(NUMBERS, 0, ("a",), (1,)), "not whole numbers from 0"),
        (Tensor(NUMBERS, 0, (2, 2), (1,)), "not built from a storage, sizes and strides"),
        (Tensor("f4", 0, (2,), (1,)), "not built from a storage, sizes and strides"),
        (Tensor(NUMBERS, 0, (1,) * 9, (1,) * 9), "a tensor has 9 axes"),
        *(
            (Tensor(NUMBERS, 0, shape, (1, 1)), "not built from a storage, sizes and strides")
            for shape in (3, "33", OrderedDict(), {"a": 1})
        ),
        (Tensor(NUMBERS, 0, (2**63, 0), (1, 1)), "sizes beyond those of any array"),
        (Tensor(NUMBERS, 0, (10**100, 0), (1, 1)), "sizes beyond those of any array"),
        (Call(Global("torch._utils", "_rebuild_parameter"), (3,)), "not built from a tensor"),
    ],
)
def test_tensors_outside_their_storage_are_refused(file, view, message):
    assert message in read_error(write_pth(file, {"it": view}))


def test_damaged_files_are_refused_or_read_but_never_crash(tmp_path, release_pth):
    data = bytearray(release_pth.read_bytes())
    with zipfile.ZipFile(release_pth) as archive:
        entry = archive.getinfo("archive/data.pkl")
        pickled = range(entry.header_offset, entry.header_offset + entry.file_size)
        directory = range(archive.start_dir, len(data))
    file = tmp_path / "damaged.pth"
    rng = np.random.default_rng(0)
    for area in (pickled, directory):
        for position in rng.choice(area, 40):
            broken = data.copy()
            broken[position] ^= 1 << int(rng.integers(8))
            file.write_bytes(broken)
            try:
                read_pth(file)
            except InputError as error:
                assert str(error).isprintable()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "truncated, or no PyTorch checkpoint"),
        (b"weights: none\n", "truncated, or no PyTorch checkpoint"),
        (pickle.dumps({"a": 1}), "truncated, or no PyTorch checkpoint"),
    ],
    ids=["empty", "text", "pickle"],
)
def test_files_that_are_no_checkpoint(file, data, message):
    file.write_bytes(data)
    assert message in read_error(file)


def test_zips_that_are_no_checkpoint(file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "text")
    assert read_error(file) == "refused, a checkpoint holds one data.pkl, this file holds 0"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", "")
        archive.writestr("b/data.pkl", "")
    assert read_error(file) == "refused, a checkpoint holds one data.pkl, this file holds 2"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02]q\x00.")
    assert read_error(file) == "expected a dict of state dicts, found list"


def test_missing_files_folders_and_files_that_may_not_be_read(tmp_path, file, monkeypatch):
    assert read_error(file) == "no such file"
    assert read_error(tmp_path) == "expected a .pth file, this is a folder"

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(zipfile, "ZipFile", refuse)
    assert read_error(file) == "cannot be read (Permission denied)"
