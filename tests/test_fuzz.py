"""Hypothesis: broken files, values and names are taken or refused in one line; TIFFs are exact."""

import json
import shutil
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pth_writer import write_pth

from cddfuse_jax.config import check, load
from cddfuse_jax.config.fields import FIELDS
from cddfuse_jax.data.stored_pairs import H5Patches
from cddfuse_jax.errors import InputError, escaped
from cddfuse_jax.images.image_files import FORMATS, read_photo, read_size
from cddfuse_jax.weights import torch_weights
from cddfuse_jax.weights.any_format import load_meta, load_params, save_params

pytestmark = pytest.mark.filterwarnings("ignore")
quick = settings(max_examples=60, deadline=None, derandomize=True, database=None,
                 suppress_health_check=list(HealthCheck))  # fmt: skip


def survived(action, *arguments, shown=str) -> None:
    """Whatever is done takes its input, or refuses it by one printable line."""
    try:
        action(*arguments)
    except InputError as error:
        line = shown(str(error))
        assert line.isprintable() and len(line) < 5000


# Places (0 to 1), how many bytes go there, and which come.
PIECES = st.one_of(st.binary(max_size=4), st.sampled_from([b"\0" * 100, b"\xff" * 100]))
EDIT = st.tuples(st.floats(0, 1), st.sampled_from([0, 1, 4, 100, 10**9]), PIECES)
EDITS = st.lists(EDIT, min_size=1, max_size=8)


def edited(data: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    for place, gone, come in changes:
        start = int(place * len(data))
        data = data[:start] + come + data[start + gone :]
    return data


@pytest.fixture(scope="module")
def good(tmp_path_factory, tiny_params) -> dict[str, bytes]:
    """A file of every kind, which is read."""
    folder = tmp_path_factory.mktemp("good")
    write_pth(folder / "f.pth", torch_weights.state_dicts(tiny_params))
    save_params(folder / "f.safetensors", tiny_params, {"config": {"residual": "none"}})
    with h5py.File(folder / "f.h5", "w") as opened:
        for group in ("vis_patchs", "ir_patchs"):
            for number in range(3):
                opened[f"{group}/{number}"] = np.zeros((1, 8, 8), np.float32)
    np.save(folder / "f.npy", np.zeros((8, 9, 3)))
    image = Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3))
    for kind in FORMATS:
        image.save(folder / f"f.{kind}", kind)
    return {file.suffix[1:]: file.read_bytes() for file in folder.iterdir()}


def read_patches(file: Path) -> None:
    patches = H5Patches(file)
    for number in range(len(patches)):
        _ = patches[number]


READERS = {"pth": load_params, "safetensors": load_params, "h5": read_patches}


@pytest.mark.parametrize("kind", [*READERS, "npy", *FORMATS])
def test_broken_files(good, tmp_path, kind):
    file = tmp_path / f"file.{kind.lower()}"

    @quick
    @given(EDITS)
    def attempt(changes):
        file.write_bytes(edited(good[kind], changes))
        survived(READERS.get(kind, read_photo), file)
        if READERS.get(kind) is load_params:
            survived(load_meta, file)

    attempt()


def test_broken_checkpoints(written_run, tmp_path):
    files = sorted(x.relative_to(written_run) for x in written_run.rglob("*") if x.is_file())

    @settings(quick, max_examples=8)
    @given(st.sampled_from(files), EDITS)
    def attempt(file, changes):
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            run = Path(folder) / "run"
            shutil.copytree(written_run, run)
            (run / file).write_bytes(edited((run / file).read_bytes(), changes))
            survived(load_params, run)

    attempt()


ODD = ["''", "None", "[1]", "{}", "true", "nan", "1e400", "9" * 400, "\x1b[31m"]
VALUES = st.sampled_from(ODD) | st.floats().map(str) | st.text(max_size=9).map(json.dumps)


@quick
@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), VALUES, min_size=1, max_size=2))
def test_values_of_configs(values):
    fields = [f"--config.{field}={value}" for field, value in values.items()]
    survived(lambda: check(load("ivf", fields)))


@quick
@given(st.text(st.sampled_from("a\x1b[31m\n\r\t é%{}*'\" \udcff\u202e"), min_size=1, max_size=30))
def test_names_of_files(name):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.png"
        file.write_bytes(b"no image")
        survived(read_photo, file, shown=escaped)


RGB, PLANES = {"photometric": "rgb"}, {"planarconfig": "separate"}
LAYOUTS = {  # bands as written: options of tifffile
    1: [{}, {"tile": (16, 16)}, {"rowsperstrip": 3}, {"photometric": "miniswhite"}],
    3: [RGB, RGB | PLANES, RGB | PLANES | {"tile": (16, 16)}],
    4: [RGB | {"extrasamples": ["unassalpha"]}],
}
UPRIGHT = {1: lambda x: x, 3: lambda x: np.rot90(x, 2), 5: lambda x: x.swapaxes(0, 1),
           6: lambda x: np.rot90(x, -1), 8: lambda x: np.rot90(x, 1)}  # fmt: skip


@settings(quick, max_examples=150)
@given(
    st.sampled_from(
        ["uint8", "int8", "uint16", "int16", "uint32", "float16", "float32", "float64"]
    ),
    st.sampled_from([(bands, options) for bands, all_ in LAYOUTS.items() for options in all_]),
    st.sampled_from("<>"),
    st.sampled_from([None, "deflate", "lzw", "packbits", "zstd", "lzma"]),
    st.sampled_from(sorted(UPRIGHT)),
)
def test_tiffs_are_read_as_written(dtype, layout, order, compression, orientation):
    (bands, options), rng = layout, np.random.default_rng(7)
    written = np.frombuffer(rng.bytes(16 * 32 * bands * 8), np.int64).reshape(16, 32, bands)
    written = (written % 251).astype(dtype)
    data = np.moveaxis(written, -1, 0) if "planarconfig" in options else written
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.tif"
        tags = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(file, data[..., 0] if bands == 1 else data, byteorder=order,
                         compression=compression, extratags=tags, **options)  # fmt: skip
        pixels, size = read_photo(file).pixels, read_size(file)
    right = written[..., 0] if bands == 1 else written[..., :3]
    if options.get("photometric") == "miniswhite":
        right = -right if right.dtype.kind == "f" else ~right
    right = UPRIGHT[orientation](right)
    assert pixels.dtype == right.dtype and size == right.shape[:2]
    np.testing.assert_array_equal(pixels, right)
