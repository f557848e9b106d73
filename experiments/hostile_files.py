"""Write files that were made to harm, for `hostile_inputs.py`, and the good pair beside them.

python experiments/hostile_files.py FOLDER
"""

import os
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import orbax.checkpoint as ocp

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "tests")]

from pth_writer import Opcodes, Storage, Tensor, write_pth  # noqa: E402

from cddfuse_jax.data.synthetic import synthetic_pair  # noqa: E402
from cddfuse_jax.images.image_files import write_png  # noqa: E402


def sparse(file: Path) -> None:
    """Make a .pth file of 64 GB that takes no room."""
    with open(file, "wb") as opened, zipfile.ZipFile(opened, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.start_dir = opened.seek(64 * 10**9)  # where the list of its entries goes


def state_dicts(numbers: Tensor) -> dict:
    """Return a release's file whose first kernel is ``numbers``."""
    return {"DIDF_Encoder": {"module.patch_embed.proj.weight": numbers}}


def make(folder: Path) -> None:
    """Write the good files and all bad ones."""
    for side, image in zip(("vi", "ir"), synthetic_pair(0, 96, 112), strict=True):
        write_png(folder / f"{side}.png", np.uint8(image * 255))
    (folder / "pages.tif").write_bytes(pages(40_000))
    (folder / "bomb.png").write_bytes(promising(60_000, 60_000))
    (folder / "script.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage"
    )
    os.mkfifo(folder / "fifo.png")
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "esc\x1b[31m\udcff.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    np.save(folder / "nan.npy", np.full((96, 112), np.nan, np.float32))
    sparse(folder / "sparse.pth")
    few = Storage(np.zeros(10**6, np.float32))
    write_pth(folder / "huge.pth", state_dicts(Tensor(few, 0, (10**5, 10**10), (0, 0))))
    keys = b"}" + b"N" + b"q\x00h\x00\x86" * 200 + b"Ns"
    write_pth(folder / "keys.pth", {"it": Opcodes(keys)})
    write_pth(folder / "deep.pth", {"it": Opcodes(b"N" + b"\x85" * 100_000)})
    shared = {f"{i}.weight": Tensor(few, 0, (10**5, 10**4), (0, 0)) for i in range(1000)}
    write_pth(folder / "shared.pth", {"DIDF_Encoder": shared})
    wide = Tensor(few, 0, (10**6, 1, 3, 3), (0, 0, 0, 0))
    write_pth(folder / "features.pth", state_dicts(wide))
    weights(folder)
    patches(folder)


def pages(count: int) -> bytes:
    """Return a TIFF of pages of 112x96 pixels, all of them the same bytes."""
    tags = {256: 112, 257: 96, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 96, 279: 112 * 96}
    page = struct.pack("<H", len(tags))
    for tag, value in tags.items():
        page += struct.pack("<HHII", tag, 4, 1, value)
    size = len(page) + 4
    first = 8 + 112 * 96
    starts = [first + size * i for i in range(count)] + [0]
    chain = b"".join(page + struct.pack("<I", following) for following in starts[1:])
    return b"II*\0" + struct.pack("<I", first) + bytes(range(112)) * 96 + chain


def promising(height: int, width: int) -> bytes:
    """Return a PNG of one byte of pixels whose header promises more."""

    def chunk(name: bytes, data: bytes) -> bytes:
        whole = name + data
        return struct.pack("!I", len(data)) + whole + struct.pack("!I", zlib.crc32(whole))

    header = struct.pack("!IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def weights(folder: Path) -> None:
    """Write the bad weights that are no .pth."""
    good = (REPOSITORY / "cddfuse_jax/weights/small.safetensors").read_bytes()
    (folder / "header.safetensors").write_bytes((2**60).to_bytes(8, "little") + good[8:])
    # The numbers are the end of the file, four bytes each.
    (folder / "nan.safetensors").write_bytes(good[:-4] + np.float32("nan").tobytes())
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "other model", {"dense": {"kernel": np.zeros((3, 3))}})


def patches(folder: Path) -> None:
    """Write the bad files of patches."""
    groups = ("vis_patchs", "ir_patchs")
    with h5py.File(folder / "links.h5", "w") as file:
        for group in groups:
            for number in range(64):
                file[f"{group}/{number}"] = h5py.SoftLink("/nowhere")
    with h5py.File(folder / "billion.h5", "w") as file:
        for group in groups:
            for number in range(64):
                file.create_dataset(f"{group}/{number}", (1, 10**6, 10**6), "f4", chunks=True)
    with h5py.File(folder / "many.h5", "w") as file:
        for group in groups:
            for number in range(50_000):
                file.create_dataset(f"{group}/{number}", (0,), "f4")
    with h5py.File(folder / "bytes.h5", "w") as file:
        for group in groups:
            for number in range(64):
                file[f"{group}/{number}"] = np.full((1, 64, 64), 200, np.float32)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
