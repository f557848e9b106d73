"""No input file is opened twice on its way from ``fuse`` to the fused image."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tifffile
from programs import ends

from cddfuse_jax.check_data import main as check_data
from cddfuse_jax.data.patches import main as patches
from cddfuse_jax.evaluate import main as evaluate
from cddfuse_jax.fuse import main as fuse
from cddfuse_jax.fusing import folder
from cddfuse_jax.images.image_files import write_png

OPENED: Counter[Path] = Counter()
WATCHED: list[Path] = []
NAMES = [str(number) for number in range(6)]


def _count(event, arguments):
    if event == "open" and WATCHED and isinstance(arguments[0], str | Path):
        file = Path(arguments[0])
        if file.parent in WATCHED:
            OPENED[file] += 1


sys.addaudithook(_count)


@pytest.fixture
def pairs(tmp_path):
    """Six pairs of files, PNG with TIFF or .npy, large enough for their field of view."""
    rng = np.random.default_rng(0)
    for side in ("vi", "ir"):
        (tmp_path / side).mkdir()
    for number, name in enumerate(NAMES):
        write_png(tmp_path / "vi" / f"{name}.png", rng.integers(0, 256, (64, 70, 3), np.uint8))
        deep = rng.integers(7000, 7300, (64, 70)).astype(np.uint16)
        if number % 2:
            np.save(tmp_path / "ir" / f"{name}.npy", deep)
        else:
            tifffile.imwrite(tmp_path / "ir" / f"{name}.tif", deep)
    WATCHED[:] = [tmp_path / "vi", tmp_path / "ir"]
    OPENED.clear()
    yield tmp_path
    WATCHED.clear()


def opened(root: Path, main, *arguments) -> list[int]:
    """Run a command on all pairs and return how often it opened each input."""
    OPENED.clear()
    assert ends(main, *arguments) == 0
    return sorted(OPENED[file] for side in ("vi", "ir") for file in (root / side).iterdir())


def test_commands_open_each_file_once(pairs, tiny_weights, capsys):
    sides = [f"--{side}={pairs / side}" for side in ("vi", "ir")]
    once = [1] * 2 * len(NAMES)
    weights = f"--weights={tiny_weights}"
    assert opened(pairs, fuse, weights, *sides, f"--out={pairs / 'out'}") == once
    assert opened(pairs, check_data, *sides) == once
    cut = (*sides, "--size=32", f"--out={pairs / 'patches.h5'}")
    assert opened(pairs, patches, *cut) == once
    scoring = (f"--fused={pairs / 'out'}", f"--out={pairs / 'report'}", "--workers=1")
    assert max(opened(pairs, evaluate, *sides, *scoring)) <= 2  # scored, and drawn in the report
    one = (f"--vi={pairs / 'vi/0.png'}", f"--ir={pairs / 'ir/0.tif'}", f"--out={pairs / 'a.png'}")
    assert [n for n in opened(pairs, fuse, weights, *one) if n] == [1, 1]


def test_of_a_large_folder_only_headers_are_read_before(pairs, tiny_weights, monkeypatch):
    monkeypatch.setattr(folder, "AHEAD", 1)
    sides = [f"--{side}={pairs / side}" for side in ("vi", "ir")]
    counted = opened(pairs, fuse, f"--weights={tiny_weights}", *sides, f"--out={pairs / 'out'}")
    assert counted == [1, 1] + [2] * 10
