"""Files that try to run code, to reach beyond themselves, or to take up the memory."""

import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from pth_writer import Global, Opcodes, Storage, Tensor, opcodes, write_pth
from test_pth_file import NUMBERS, read_error


@pytest.fixture
def file(tmp_path):
    return tmp_path / "w.pth"


def attack(module: str, name: str, argument: bytes) -> dict[str, bytes]:
    """Opcodes that call module.name(argument) in each way that a pickle can."""
    dotted = f"{module}\n{name}\n".encode()

    def text(value):
        return b"X" + len(value).to_bytes(4, "little") + value.encode()

    return {
        "GLOBAL": b"c" + dotted + argument + b"\x85R",
        "STACK_GLOBAL": text(module) + text(name) + b"\x93" + argument + b"\x85R",
        "INST": b"(" + argument + b"i" + dotted,
        "OBJ": b"(c" + dotted + argument + b"o",
        "NEWOBJ": b"c" + dotted + argument + b"\x85\x81",
        "NEWOBJ_EX": b"c" + dotted + argument + b"\x85}\x92",
    }


@pytest.mark.parametrize("way", ["GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX"])
@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("posix", "system"), ("os", "mkdir"), ("builtins", "eval"),
     ("builtins", "exec"), ("subprocess", "Popen"), ("numpy", "fromfile"), ("builtins", "getattr"),
     ("torch", "load"), ("torch._utils", "os.system"), ("collections", "abc.sys.exit")],
)  # fmt: skip
def test_calls_are_refused_by_name_and_do_not_happen(tmp_path, file, way, module, name):
    trace = tmp_path / "trace"
    command = {
        "mkdir": str(trace),
        "eval": f"open({str(trace)!r}, 'w')",
        "exec": f"open({str(trace)!r}, 'w')",
    }.get(name, f"touch {trace}")
    argument = opcodes(command, [])
    write_pth(file, {"it": Opcodes(attack(module, name, argument)[way])})
    assert read_error(file).startswith(
        f"refused, it names {module}.{name}, which no state dict of weights needs; have the "
        "program that wrote it save the state dicts alone: torch.save({k: checkpoint[k] "
    )
    assert not trace.exists()


@pytest.mark.parametrize(
    "target",
    [
        Global("torch._utils", "_rebuild_tensor_v2"),
        Global("torch._utils", "_rebuild_parameter"),
        Global("torch", "FloatStorage"),
        Global("collections", "OrderedDict"),
        Tensor(NUMBERS, 0, (1,), (1,)),
        Opcodes(opcodes(NUMBERS, [])),
    ],
    ids=[
        "_rebuild_tensor_v2",
        "_rebuild_parameter",
        "FloatStorage",
        "OrderedDict",
        "tensor",
        "storage",
    ],
)
def test_attributes_of_admitted_objects_cannot_be_set(file, target):
    """BUILD sets attributes: none may stay behind on what the reader itself is made of."""
    storages = []
    code = opcodes(target, storages) + opcodes({"planted": "trace"}, storages) + b"b"
    write_pth(file, {"storage": NUMBERS, "it": Opcodes(code)})
    assert read_error(file).startswith("broken checkpoint (TypeError: attributes for ")


def test_names_with_line_breaks_stay_on_one_line(file):
    way = attack("a\nb", "\x1b[31mred", b"N")["STACK_GLOBAL"]
    assert r"it names a\nb.\x1b[31mred, which" in read_error(write_pth(file, {"it": Opcodes(way)}))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (b"r\xff\xff\xff\xff", "refused, its pickle numbers its objects up to 4294967295"),  # memo
        (b"p99999999999\n", "refused, its pickle numbers its objects up to 99999999999"),
        (b"\x8e" + (2**40).to_bytes(8, "little"), "broken checkpoint (ValueError"),  # BINBYTES8
        (b"\x96" + (2**36).to_bytes(8, "little"), "broken checkpoint (ValueError"),  # BYTEARRAY8
        (b"\x95" + (2**62).to_bytes(8, "little"), "broken checkpoint ("),  # FRAME
        (b"\x8b\xff\xff\xff\x7f", "broken checkpoint (ValueError"),  # LONG4
    ],
)
def test_lengths_that_the_file_does_not_have_take_no_memory(file, code, message):
    write_pth(file, {"it": Opcodes(b"N" + code)})
    tracemalloc.start()
    try:
        assert message in read_error(file)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("zeros", [0, 10_000_000])
def test_compressed_entries_are_refused(file, zeros):
    content = {"it": np.zeros(3, np.float32), "text": "0" * zeros}
    write_pth(file, content, compression=zipfile.ZIP_DEFLATED)
    assert file.stat().st_size < 100_000
    assert "is compressed, which torch.save never does" in read_error(file)


def test_overlapping_entries_cannot_multiply_the_file(file):
    """One storage holds the other's header and data, so that the same bytes are read twice."""
    outer, inner = "archive/data/0", "archive/data/1"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(inner, bytes(40_000))
    entry = archive.getinfo(inner)
    data = file.read_bytes()[: archive.start_dir]
    storages = []
    pickled = opcodes({key: Storage(np.zeros(1, np.float32)) for key in "ab"}, storages)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(outer, data + bytes(-len(data) % 4))
        entry.header_offset = archive.getinfo(outer).header_offset + 30 + len(outer)
        archive.writestr("archive/data.pkl", b"\x80\x02" + pickled + b".")
        archive.filelist.append(entry)
    message = read_error(file)
    # Newer versions of Python see the overlap themselves.
    assert message == "refused, its entries are together larger than the file" or (
        message.startswith("truncated, or no PyTorch checkpoint")
    )


def test_a_storage_of_a_kind_that_is_none(file):
    for pid in (("module", "f4", "0", "cpu", 1), ("storage", "V9", "0", "cpu", 1), (1, 2)):
        storages = []
        code = opcodes(pid, storages) + b"Q"
        message = read_error(write_pth(file, {"it": Opcodes(code)}))
        assert "something else than a storage" in message or "broken checkpoint (" in message


def nested(depth: int) -> bytes:
    """A tuple of two of the same tuple of two ...: as a key, it takes 2**depth steps to hash."""
    return b"N" + b"q\x00h\x00\x86" * depth


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (b"}" + nested(200) + b"Ns", "a key is a tuple, those of state dicts are strings"),
        (b"}" + b"N" + b"\x85" * 100_000 + b"Ns", "a key is a tuple"),
        (b"}" + b"N" * 2**19, "bytes, that of weights at most"),
        (b"ccollections\nOrderedDict\n]\x85R", "an OrderedDict is made of something"),
        (b"\x8f", "its pickle uses EMPTY_SET"),
    ],
    ids=["shared tuples", "deep tuple", "long", "filled OrderedDict", "set"],
)
def test_what_no_state_dict_has_is_refused_before_it_costs(file, code, message):
    write_pth(file, {"it": Opcodes(code)})
    started = time.perf_counter()
    assert message in read_error(file)
    assert time.perf_counter() - started < 5  # minutes, or the stack, with Python's unpickler
