"""The commands that write, as `faults.py` attacks them, and what reads their outputs."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from PIL import Image

from cddfuse_jax.weights.files import load_params

PAIRS = 6


class Command(NamedTuple):
    """A command that writes.

    Attributes:
        arguments: after ``python -m cddfuse_jax.``; IN and OUT stand for folders.
        again: what to add so that it may replace what it left.
        whole: reads what it wrote to the end; raises if a file is not whole; how many there are.
        most_kib: a limit on the size of files that it must meet.
    """

    arguments: str
    again: str
    whole: Callable[[Path], int]
    most_kib: int


def pictures(out: Path) -> int:
    """Read all PNG files and pages."""
    files = [file for file in out.rglob("*.png") if not file.name.startswith(".")]
    for file in files:
        with Image.open(file) as image:
            image.load()
    pages = list(out.rglob("report.html"))
    for page in pages:
        assert page.read_text(encoding="utf-8").rstrip().endswith("</html>"), page
    return len(files) + len(pages)


def video(out: Path) -> int:
    """Decode all frames."""
    import av

    files = [file for file in out.glob("*.mp4") if not file.name.startswith(".")]
    for file in files:
        with av.open(str(file)) as container:
            assert sum(1 for _ in container.decode(video=0)) == PAIRS
    return len(files)


def patches(out: Path) -> int:
    """Read all patches."""
    files = [file for file in out.glob("*.h5") if not file.name.startswith(".")]
    for file in files:
        with h5py.File(file) as data:
            groups = [data["vis_patchs"], data["ir_patchs"]]
            assert len(groups[0]) == len(groups[1]) > PAIRS
            for group in groups:
                assert all(np.isfinite(patch[()]).all() for patch in group.values())
    return len(files)


def weights(out: Path) -> int:
    """Load all weights."""
    files = [file for file in out.glob("*") if not file.name.startswith(".")]
    for file in files:
        load_params(file)
    return len(files)


def exported(out: Path) -> int:
    """Load the network."""
    import jax.export

    files = [file for file in out.glob("*.stablehlo") if not file.name.startswith(".")]
    for file in files:
        jax.export.deserialize(bytearray(file.read_bytes()))
    return len(files)


def dataset(out: Path) -> int:
    """Read all examples."""
    from cddfuse_jax.data.stored_pairs import TfdsPairs

    found = [path for path in out.glob("msrs/1.0.0") if path.is_dir()]
    for folder in found:
        pairs = TfdsPairs(folder)
        assert len(pairs) == PAIRS
        for index in range(PAIRS):
            assert np.isfinite(pairs[index]["visible"]).all()
    return len(found)


COMMANDS = {
    "fuse": Command(
        "fuse --weights small --vi IN/train/vi --ir IN/train/ir --out OUT",
        "--overwrite", pictures, 8,
    ),
    "fuse, a video": Command(
        "fuse --weights small --vi IN/vi.mp4 --ir IN/ir.mp4 --out OUT/fused.mp4",
        "--overwrite", video, 4,
    ),
    "evaluate": Command(
        "evaluate --fused IN/test/vi --vi IN/train/vi --ir IN/train/ir --out OUT",
        "--overwrite", pictures, 4,
    ),
    "decompose": Command(
        "decompose --weights small --vi IN/train/vi --ir IN/train/ir --out OUT",
        "--overwrite", pictures, 8,
    ),
    "data.patches": Command(
        "data.patches --vi IN/train/vi --ir IN/train/ir --size 32 --stride 16 --out OUT/pairs.h5",
        "--overwrite", patches, 64,
    ),
    "data.tfds_builder": Command(
        "data.tfds_builder --data IN --out OUT", "", dataset, 4,
    ),
    "convert, safetensors": Command(
        "convert ivf OUT/w.safetensors", "--overwrite", weights, 64,
    ),
    "convert, checkpoint": Command("convert ivf OUT/w", "", weights, 64),
    "export": Command("export --weights small --out OUT/f.stablehlo", "--overwrite", exported, 64),
}  # fmt: skip
