"""The page in the browser: what a request gives, and the whole of it in a headless Chromium."""

import importlib.util
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from programs import ends, free_port

from cddfuse_jax import demo
from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.images.image_files import read_photo

MOST = 100_000  # pixels
OPTIONS = ("small", "", demo.DEFAULT, "auto", True, demo.NO, False, "png")


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[Path, Path]:
    """A visible image of 8 bits and an infrared one of 16."""
    folder = tmp_path_factory.mktemp("pair")
    visible, infrared = synthetic_pair(3, 48, 64)
    files = folder / "street.png", folder / "street_ir.png"
    Image.fromarray(np.rint(255 * visible).astype(np.uint8)).save(files[0])
    Image.fromarray((20_000 + 3000 * infrared).astype(np.uint16)).save(files[1])
    return files


def request(visible: Path | None, infrared: Path | None, most=MOST, options=OPTIONS) -> tuple:
    """What the page shows; the fused image as an array, since its file goes with the request."""
    names = [str(path) if path else None for path in (visible, infrared)]
    for lines, file, *rest in demo._fused(most, *names, *options):
        return lines, file and np.asarray(Image.open(file)), *rest
    raise AssertionError


def test_a_request_gives_what_the_command_does_its_scores_and_maps(pair):
    lines, fused, with_visible, with_infrared, scores, maps = request(*pair)
    expected = Fuser("small")(*(read_photo(path).pixels for path in pair))
    np.testing.assert_array_equal(fused, expected)
    np.testing.assert_array_equal(with_visible[1], expected)
    assert with_infrared[0].dtype == np.uint8
    assert lines.startswith("fused in ") and "deeper than 8 bits" in lines
    assert [name for name, _ in scores] == ["EN", "SD", "SF", "MI", "SCD", "VIF", "Qabf", "SSIM"]
    assert dict(scores)["EN"] > 4
    assert maps.shape[1] >= 3 * 64


def test_16_bits_without_stretch(pair):
    _, fused, *_ = request(*pair, options=(*OPTIONS[:4], False, *OPTIONS[5:7], "png16"))
    assert fused.dtype == np.uint16 and len(np.unique(fused)) > 256
    visible, infrared = (read_photo(path).pixels for path in pair)
    whole = Fuser("small", stretch=False)(visible, infrared.astype(np.float32))
    assert np.abs(fused / 65535 - whole).max() < 2e-5


def test_a_slice_of_volumes_is_fused(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{side}.nii" for side in ("mri", "ct")]
    for file in files:
        nibabel.save(nibabel.Nifti1Image(np.float32(rng.random((64, 48, 3))), np.eye(4)), file)
    assert request(*files)[0] == "error: mri.nii: has 3 slices; choose one: --slice 0 to 2"
    assert "number from 0, got '-1'" in request(*files, options=("small", "-1", *OPTIONS[2:]))[0]
    lines, fused, *_ = request(*files, options=("small", "1", *OPTIONS[2:]))
    assert lines.startswith("fused in ")
    expected = Fuser("small")(*(read_photo(file, 1).pixels for file in files))
    np.testing.assert_array_equal(fused, np.rint(255 * expected))


def test_what_does_not_fit_is_one_line_without_folders_of_this_machine(pair, tmp_path):
    lines = request(None, pair[1])[0]
    assert lines == "error: choose two images, a visible and an infrared one"
    lines = request(*pair, most=3000)[0]
    assert lines == "error: street.png: images may have 0.003 megapixels here, got 64x48"
    noise = tmp_path / "noise.png"
    noise.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 50)
    lines = request(noise, pair[1])[0]
    assert lines.startswith("error: noise.png: ") and str(tmp_path) not in lines
    small = tmp_path / "small.png"
    Image.fromarray(np.tile(np.arange(40, dtype=np.uint8), (40, 1))).save(small)
    assert "one size" in request(pair[0], small)[0]
    options = (*OPTIONS[:5], "infrared", *OPTIONS[6:])
    lines, fused, *_, scores, maps = request(pair[0], small, options=options)
    assert fused.shape == (48, 64) and scores == [] and maps is None


@pytest.mark.skipif(importlib.util.find_spec("gradio") is not None, reason="Gradio is there")
def test_without_gradio_it_is_one_line(capsys):
    assert ends(demo.main) == 2
    assert re.fullmatch(r"error: the page needs Gradio: .*\[demo\].*\n", capsys.readouterr().err)


@pytest.mark.skipif(
    not (
        importlib.util.find_spec("gradio")
        and importlib.util.find_spec("playwright")
        and shutil.which("chromium")
    ),
    reason="needs the extra [demo], playwright and Chromium",
)
def test_in_a_browser(pair, tmp_path):
    """Uploaded, it is what the command writes; no other server is asked; Ctrl-C ends it."""
    from playwright.sync_api import sync_playwright

    out, port = tmp_path / "fused.png", free_port()
    program = [sys.executable, "-m", "cddfuse_jax"]
    files = ["--vi", str(pair[0]), "--ir", str(pair[1]), "--out", str(out)]
    subprocess.run([*program, "fuse", "--weights", "small", *files], check=True)
    serve = [*program, "demo", "--weights", "small", "--port", str(port)]
    with (
        subprocess.Popen(serve, stderr=subprocess.PIPE, text=True) as server,
        sync_playwright() as playwright,
    ):
        address = f"http://127.0.0.1:{port}/"
        assert server.stderr.readline() == f"{address} is open, Ctrl-C closes it\n"
        second = subprocess.run(serve, capture_output=True, text=True, timeout=120)
        assert second.returncode == 2
        assert second.stderr.startswith("error: cannot listen") and second.stderr.count("\n") == 1
        chromium = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page()
        asked = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(address)
        for name, path in zip(("visible", "infrared"), pair, strict=True):
            tab.set_input_files(f"#{name} input[type=file]", path)
            tab.wait_for_selector(f"#{name} a[download]")
        tab.click("#fuse")
        tab.wait_for_selector("#fused a[download]", timeout=120_000)
        with urllib.request.urlopen(tab.get_attribute("#fused a[download]", "href")) as file:
            np.testing.assert_array_equal(np.asarray(Image.open(file)), np.asarray(Image.open(out)))
        for name in ("with_visible", "with_infrared", "maps"):
            widths = f"[...document.querySelectorAll('#{name} img')].map(i => i.naturalWidth)"
            tab.wait_for_function(f"{widths}.length && {widths}.every(width => width > 0)")
        browser.close()
        assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=30) == 130
        assert "Traceback" not in server.stderr.read()
