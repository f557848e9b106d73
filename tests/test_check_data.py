import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from programs import ends

from cddfuse_jax import check_data
from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.images import image_files


@pytest.fixture
def folders(tmp_path):
    """Four registered pairs, infrared in 16 bits, visible in colour."""
    (tmp_path / "ir").mkdir()
    for seed, name in enumerate("abcd", 7):
        visible, infrared = synthetic_pair(seed, 120, 160)
        colour = np.rint(visible[..., None] * [255, 200, 100]).astype(np.uint8)
        image_files.write_png(tmp_path / "vi" / f"{name}.png", colour)
        deep = (7000 + 900 * infrared).astype(np.uint16)
        Image.fromarray(deep).save(tmp_path / "ir" / f"{name}.tif")
    return tmp_path


def check(folders, capsys, *more):
    code = ends(check_data.main, "--vi", folders / "vi", "--ir", folders / "ir", *more)
    return code, *(text.splitlines() for text in capsys.readouterr())


def test_a_good_folder(folders, capsys):
    code, out, err = check(folders, capsys)
    assert code == 0
    assert out == [
        "4 pairs",
        "      4  visible: 8-bit colour",
        "      4  infrared: 16-bit grey",
        "  sizes: 160x120 (4)",
        "  shortest side: 120 pixels, so data.crop and --size can be at most that",
        "0 errors, 0 warnings",
    ]
    ends_ = [np.percentile(np.asarray(Image.open(folders / "ir" / f"{name}.tif")), [0.1, 99.9])
             for name in "abc"]  # fmt: skip
    each = (
        f"ir/{n}.tif {low:.5g} to {high:.5g}" for n, (low, high) in zip("abc", ends_, strict=True)
    )
    assert err == [
        "note: 4 images: deeper than 8 bits, percentiles 0.1 and 99.9 become 0 and 1 "
        f"({', '.join(each)}, ...)"
    ]


def test_everything_that_is_wrong_is_told(folders, capsys):
    (folders / "vi" / "a.png").write_text("no image")
    image_files.write_png(folders / "vi" / "b.png", np.zeros((60, 80), np.uint8))
    (folders / "vi" / "c.bmp").touch()
    _, infrared = synthetic_pair(10, 120, 160)
    image_files.write_png(
        folders / "ir" / "d.png", np.rint(255 * np.roll(infrared, -12, 0)).astype("u1")
    )
    (folders / "ir" / "d.tif").unlink()
    image_files.write_png(folders / "ir" / "e.png", np.zeros((60, 80), np.uint8))
    code, out, _ = check(folders, capsys)
    errors = [line for line in out if line.startswith("error")]
    warnings = [line for line in out if line.startswith("warning")]
    assert code == 1
    assert len(errors) == 4 and len(warnings) == 1
    assert "one image per name, found c.bmp, c.png" in errors[0]
    assert f"e.png: no image of that name in {folders / 'vi'}" in errors[1]
    assert "a.png: not an image" in errors[2]
    assert "b.png is 80x60" in errors[3] and "b.tif is 160x120" in errors[3]
    assert re.search(r"d: the infrared image seems shifted by 0 right and 1[123] up", warnings[0])
    assert out[-1] == "4 errors, 1 warnings"
    code, out, err = check(folders, capsys, "--resize", "visible")
    assert out[-1] == "3 errors, 2 warnings"
    assert any("b.png: every pixel is the same" in line for line in out)
    assert any(
        "resized from 80x60 to 160x120, as of one field of view (vi/b.png)" in line for line in err
    )


def test_nothing_to_check(folders, capsys):
    for file in (folders / "ir").iterdir():
        file.unlink()
    code, out, err = check(folders, capsys)
    assert (code, out) == (2, [])
    assert err == [
        f"error: {folders / 'ir'}: no images; PNG, JPEG, TIFF, BMP, WebP and .npy are read"
    ]


def test_it_starts_without_jax():
    code = "import sys, cddfuse_jax.check_data; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
