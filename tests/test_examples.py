import json
import runpy
from pathlib import Path

import numpy as np
from agreement import assert_same_levels
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_fuse_arrays(tiny_weights, tmp_path, capsys):
    example = runpy.run_path(str(EXAMPLES / "fuse_arrays.py"))
    fused, both = example["main"](tmp_path / "fused.png", tiny_weights)
    assert capsys.readouterr().out == "(96, 128, 3) + (96, 128) -> (96, 128, 3) uint8\n"
    assert_same_levels(both[0], fused)  # a batch, and one of its pairs alone
    assert (both[1] != fused).any()
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "fused.png")), fused)


def test_the_notebook(tiny_weights, capsys):
    """Every cell in order, as a kernel would; with small weights, so that it takes seconds."""
    notebook = json.loads((EXAMPLES / "fuse_score_decompose.ipynb").read_text())
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    assert sum('weights = "ivf"' in cell for cell in cells) == 1
    names = {}
    for number, cell in enumerate(cells):
        cell = cell.replace('weights = "ivf"', f"weights = {str(tiny_weights)!r}")
        exec(compile(cell, f"cell {number}", "exec"), names)
    assert names["fused"].shape == (120, 160)
    assert list(names["ours"]) == ["EN", "SD", "SF", "MI", "SCD", "VIF", "Qabf", "SSIM"]
    assert capsys.readouterr().out.count("brighter pixel") == 8
    assert abs(names["parts"].cc_base) <= 1
    np.testing.assert_allclose(names["parts"].images[0], names["visible"] / 255, atol=1e-6)
