"""The page in the browser: what a request gives, and the whole of it in a headless Chromium."""

import contextlib
import importlib.util
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from programs import ends, free_port

from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.errors import InputError
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.images.image_files import read_photo
from cddfuse_jax.webpage.request import Options, answers, draw_pair

MOST = 100_000  # pixels


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[Path, Path]:
    """A visible image of 8 bits and an infrared one of 16."""
    folder = tmp_path_factory.mktemp("pair")
    visible, infrared = synthetic_pair(3, 48, 64)
    files = folder / "street.png", folder / "street_ir.png"
    Image.fromarray(np.rint(255 * visible).astype(np.uint8)).save(files[0])
    Image.fromarray((20_000 + 3000 * infrared).astype(np.uint16)).save(files[1])
    return files


def test_a_request_gives_what_the_command_does_and_then_more(pair, tmp_path):
    first, second, third = answers(*pair, Options("small"), tmp_path, MOST)
    assert first.fused.name == "street_fused.png" and (first.scores, first.maps) == (None, None)
    expected = Fuser("small")(*(read_photo(path).pixels for path in pair))
    np.testing.assert_array_equal(np.asarray(Image.open(first.fused)), expected)
    np.testing.assert_array_equal(np.asarray(Image.open(first.shown[2])), expected)
    assert np.asarray(Image.open(first.shown[1])).dtype == np.uint8
    assert first.lines[0].startswith("64x48, fused in ")
    assert "deeper than 8 bits" in first.lines[1]
    assert list(second.scores) == ["fused", "max", "mean"]
    assert second.scores["fused"]["EN"] > second.scores["mean"]["EN"] > 0
    assert second.maps is None and Image.open(third.maps).size[0] >= 3 * 64


def test_16_bits_strips_and_no_stretch(pair, tmp_path):
    options = Options("small", stretch=False, strips=True, stored="png16")
    *_, last = answers(*pair, options, tmp_path, MOST)
    fused = np.asarray(Image.open(last.fused))
    assert fused.dtype == np.uint16 and len(np.unique(fused)) > 256
    visible, infrared = (read_photo(path).pixels for path in pair)
    assert infrared.dtype == np.uint16  # as floats, which are fused to floats
    whole = Fuser("small", stretch=False)(visible, infrared.astype(np.float32))
    assert np.abs(fused / 65535 - whole).max() < 2e-5
    assert last.maps is None and "no maps" in last.lines[-1]


def test_what_does_not_fit_is_one_line(pair, tmp_path):
    with pytest.raises(InputError, match=r"^street.png: images may have 0.003 megapixels here, "):
        next(answers(*pair, Options("small"), tmp_path, 3000))
    other, _ = draw_pair(0, tmp_path, 40, 40)
    with pytest.raises(InputError, match="one size"):
        next(answers(pair[0], other, Options("small"), tmp_path, MOST))
    *_, last = answers(pair[0], other, Options("small", resize="infrared"), tmp_path, MOST)
    assert Image.open(last.fused).size == (64, 48) and "no scores" in last.lines[-1]
    noise = tmp_path / "noise.png"
    noise.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 50)
    with pytest.raises(InputError, match=r"noise\.png"):
        next(answers(noise, other, Options("small"), tmp_path, MOST))


@pytest.mark.skipif(importlib.util.find_spec("gradio") is not None, reason="Gradio is there")
def test_without_gradio_it_is_one_line(capsys):
    from cddfuse_jax import demo

    assert ends(demo.main) == 2
    assert re.fullmatch(r"error: the page needs Gradio: .*\[demo\].*\n", capsys.readouterr().err)
    assert Path(tempfile.gettempdir()).is_dir()


needs_browser = pytest.mark.skipif(
    not (
        importlib.util.find_spec("gradio")
        and importlib.util.find_spec("playwright")
        and shutil.which("chromium")
    ),
    reason="needs the extra [demo], playwright and Chromium",
)


@pytest.fixture(scope="module")
def address():
    """The page's; afterwards Ctrl-C must close it, with nothing left."""
    port = free_port()
    command = ["-m", "cddfuse_jax.demo", "--weights", "small", "--port", str(port)]
    with subprocess.Popen(
        [sys.executable, *command, "--max-pixels", "0.1"],
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        line = process.stderr.readline()
        assert line == f"http://127.0.0.1:{port}/ is open, Ctrl-C closes it\n"
        yield f"http://127.0.0.1:{port}/"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert "Traceback" not in process.stderr.read()


@contextlib.contextmanager
def visitor(address: str):
    """A tab of a browser of its own; whatever it asks of other servers is an error."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        tab = browser.new_page()
        asked = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(address)
        yield tab
        browser.close()
        assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def upload(tab, visible: Path, infrared: Path) -> None:
    for name, path in (("visible", visible), ("infrared", infrared)):
        tab.set_input_files(f"#{name} input[type=file]", path)
        tab.wait_for_selector(f"#{name} a[download]")
    tab.click("#fuse")


def wait_for_text(tab, text: str) -> str:
    box = "(document.querySelector('#lines textarea')?.value ?? '')"
    tab.wait_for_function(f"{box}.includes({text!r})", timeout=120_000)
    return tab.evaluate(box)


def downloaded(tab) -> np.ndarray:
    tab.wait_for_selector("#fused a[download]")
    with urllib.request.urlopen(tab.get_attribute("#fused a[download]", "href")) as file:
        return np.asarray(Image.open(file))


@needs_browser
def test_uploaded_in_a_browser_it_is_what_the_command_writes(address, pair, tmp_path):
    out = tmp_path / "fused.png"
    files = ["--vi", str(pair[0]), "--ir", str(pair[1]), "--out", str(out)]
    command = [sys.executable, "-m", "cddfuse_jax.fuse", "--weights", "small", *files]
    subprocess.run(command, check=True)
    with visitor(address) as tab:
        upload(tab, *pair)
        assert "deeper than 8 bits" in wait_for_text(tab, "fused in")  # 16 bits have arrived
        np.testing.assert_array_equal(downloaded(tab), np.asarray(Image.open(out)))
        tab.wait_for_function("document.querySelector('#scores')?.innerText.includes('SSIM')")
        text = " ".join(tab.inner_text("#scores").split())
        for row in ("EN", "SD", "SF", "MI", "SCD", "VIF", "Qabf", "SSIM"):
            assert re.search(rf"\b{row} ↑( -?\d+\.\d\d){{3}}\b", text), text
        tab.get_by_role("tab", name="Base and detail").click()
        tab.wait_for_selector("#maps img", timeout=120_000)
        for name in ("visible_shown", "infrared_shown", "maps"):
            widths = f"[...document.querySelectorAll('#{name} img')].map(i => i.naturalWidth)"
            tab.wait_for_function(f"{widths}.every(width => width > 0)")


@needs_browser
def test_a_drawn_pair_is_one_click(address):
    with visitor(address) as tab:
        tab.click("#draw")
        tab.wait_for_selector("#infrared a[download]")
        tab.click("#fuse")
        assert wait_for_text(tab, "fused in").startswith("320x240, fused in ")


@needs_browser
def test_a_bad_upload_is_a_line_without_folders_of_this_machine(address, pair, tmp_path):
    noise = tmp_path / "<b>noise.png"
    noise.write_bytes(b"no image")
    with visitor(address) as tab:
        tab.click("#fuse")
        assert wait_for_text(tab, "error").endswith(
            "choose two images, a visible and an infrared one"
        )
        upload(tab, pair[0], noise)
        line = wait_for_text(tab, "noise")
        assert line.startswith("error: bnoise.png: not an image")  # Gradio drops the "<"
        tab.reload()
        large, _ = draw_pair(1, tmp_path, 400, 400)
        upload(tab, large, large)
        assert "images may have 0.1 megapixels here, got 400x400" in wait_for_text(
            tab, "megapixels"
        )
        assert not tab.is_visible("#visible_shown img")  # nor is it decoded to be shown


@needs_browser
def test_a_port_that_is_taken_is_one_line(address):
    port = address.rstrip("/").rpartition(":")[2]
    command = [sys.executable, "-m", "cddfuse_jax.demo", "--port", port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: cannot listen at 127.0.0.1:{port} (Address already in ")
    assert done.stderr.count("\n") == 1


@needs_browser
def test_two_visitors_at_once_get_each_their_own(address, tmp_path):
    results = {}

    def visit(seed: int) -> None:
        files = draw_pair(seed, tmp_path, 48, 64)
        with visitor(address) as tab:
            upload(tab, *files)
            wait_for_text(tab, "fused in")
            results[seed] = downloaded(tab), files

    threads = [threading.Thread(target=visit, args=(seed,)) for seed in (5, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(200)
    fuser = Fuser("small")
    for fused, files in results.values():
        expected = fuser(*(read_photo(path).pixels for path in files))
        np.testing.assert_array_equal(fused, expected)
    assert set(results) == {5, 6}
