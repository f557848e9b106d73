import runpy
from pathlib import Path

import numpy as np
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_fuse_arrays(tiny_weights, tmp_path, capsys):
    example = runpy.run_path(str(EXAMPLES / "fuse_arrays.py"))
    fused, both = example["main"](tiny_weights, tmp_path / "fused.png")
    assert capsys.readouterr().out == "(96, 128, 3) + (96, 128) -> (96, 128, 3) uint8\n"
    np.testing.assert_array_equal(both[0], fused)
    assert (both[1] != fused).any()
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "fused.png")), fused)
