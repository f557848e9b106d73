"""The network as one HTML file: how it is put together, and what it gives in a Chromium."""

import base64
import importlib.util
import io
import re
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from programs import ends

from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.errors import InputError
from cddfuse_jax.export import __main__ as export
from cddfuse_jax.export import single_file
from cddfuse_jax.fusing.fuser import Fuser


def archive(folder: Path, *parts: str) -> Path:
    path = folder / "runtime.tgz"
    with tarfile.open(path, "w:gz") as files:
        for part in parts:
            info = tarfile.TarInfo(part)
            info.size = len(part)
            files.addfile(info, io.BytesIO(part.encode()))
    return path


def test_the_page_holds_runtime_and_model(tmp_path):
    runtime = single_file.runtime_parts(archive(tmp_path, single_file.SCRIPT, single_file.WASM))
    page = single_file.single_file(b"a model", "<mine>", runtime).decode()
    held = dict(re.findall(r'<script type="text/plain" id="(\w+)">([^<]*)</script>', page))
    assert {name: base64.b64decode(text) for name, text in held.items()} == {
        "runtime": single_file.SCRIPT.encode(),
        "wasm": single_file.WASM.encode(),
        "model": b"a model",
    }
    assert "<b>&lt;mine&gt;</b>" in page and "$" not in page


@pytest.mark.parametrize("content", [None, b"no archive", "another package"])
def test_a_wrong_archive_is_one_line(tmp_path, content):
    path = tmp_path / "runtime.tgz"
    if content == "another package":
        archive(tmp_path, "package/index.js")
    elif content:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"^.*runtime.tgz: not npm's archive of onnxruntime-web"):
        single_file.runtime_parts(path)


def test_without_npm_it_is_one_line_before_any_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    out = tmp_path / "page.html"
    assert ends(export.main, "--format", "page", "--out", out) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: a page holds the npm package") and error.count("\n") == 1
    assert not out.exists()


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The page of `small`, as the command writes it."""
    path = tmp_path_factory.mktemp("page") / "cddfuse.html"
    command = ["export", "--format", "page", "--weights", "small", "--out", str(path)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", command)
        try:
            export.main()
        except InputError:
            pytest.skip("npm could not fetch the runtime")
    return path


@pytest.mark.skipif(
    not (
        importlib.util.find_spec("playwright") and shutil.which("chromium") and shutil.which("npm")
    ),
    reason="needs playwright, Chromium and npm",
)
def test_opened_from_the_disk_it_fuses_as_the_command_does(page, tmp_path):
    from playwright.sync_api import sync_playwright

    visible, infrared = (np.rint(255 * side) for side in synthetic_pair(3, 48, 64))
    tint = np.stack([visible, 0.8 * visible, 0.9 * visible], -1)
    pair = [tint.astype(np.uint8), infrared.astype(np.uint8)]
    files = [tmp_path / "visible.png", tmp_path / "infrared.png"]
    for path, pixels in zip(files, pair, strict=True):
        Image.fromarray(pixels).save(path)
    small = tmp_path / "small.png"
    Image.fromarray(pair[1][:40]).save(small)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        tab = browser.new_page()
        asked = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(page.as_uri())

        def fused(*chosen: Path) -> str:
            for name, path in zip(("visible", "infrared"), chosen, strict=False):
                tab.set_input_files(f"#{name}", path)
            tab.click("#fuse")  # the last line is gone when this returns
            said = tab.locator("#said", has_text=re.compile("fused in|error"))
            said.wait_for(timeout=120_000)
            return said.inner_text()

        assert fused().endswith("choose two images, a visible and an infrared one")
        assert fused(files[0], small).endswith("must have one size, got 64x48 and 64x40")
        assert fused(files[0], page).endswith("not an image that this browser can read")
        assert fused(*files).startswith("64x48, fused in ")
        with tab.expect_download() as download:
            tab.click("#save")
        stored = np.asarray(Image.open(download.value.path()).convert("RGB")).astype(int)
        assert {url.split(":")[0] for url in asked} <= {"file", "blob", "data"}
        browser.close()
    difference = np.abs(stored - Fuser("small")(*pair).astype(int))
    assert difference.max() <= 1 and difference.mean() < 0.01
