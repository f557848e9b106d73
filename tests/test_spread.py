"""Fusing and scoring shared by devices and processes: the files and scores of one of each."""

import csv
import re
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from programs import run_together, started

from cddfuse_jax.distributed import processes
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.images import image_files

NAMES = tuple("abcdefg")
SIZES = ((41, 44), (44, 41))  # two programs
BAD = "c"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """Seven grey pairs of two sizes; one infrared file is no image."""
    root = tmp_path_factory.mktemp("spread")
    rng = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        for kind in ("vi", "ir"):
            pixels = rng.integers(0, 256, SIZES[number % 2], np.uint8)
            image_files.write_png(root / kind / f"{name}.png", pixels)
    (root / "ir" / f"{BAD}.png").write_bytes(b"no picture")
    return root


def fuse_command(folders: Path, weights: Path, out: Path) -> list[str]:
    command = ["-m", "cddfuse_jax.fuse", "--weights", str(weights), "--out", str(out)]
    return [*command, "--vi", str(folders / "vi"), "--ir", str(folders / "ir")]


def scores(folder: Path) -> list[list[str]]:
    """Return the lines of scores.csv but for the run's name and folder."""
    with open(folder / "scores.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [[v for key, v in row.items() if key not in ("name", "folder")] for row in rows]


@pytest.fixture(scope="module")
def alone(folders, tiny_weights) -> Path:
    """What one process on one device writes, scored too."""
    out = folders / "alone"
    command = [*fuse_command(folders, tiny_weights, out), "--evaluate"]
    codes, texts, errors = run_together(command)
    assert codes == [1], errors
    assert "6 fused, 1 failed" in texts[0]
    return out


@pytest.mark.parametrize("count, devices", [(1, 3), (2, 2)])
def test_devices_and_processes_write_what_one_of_each_does(
    folders, tiny_weights, alone, count, devices
):
    out = folders / f"{count}x{devices}"
    command = [*fuse_command(folders, tiny_weights, out), "--evaluate"]
    codes, texts, errors = run_together(command, count, devices)
    assert codes == [1] * count, errors  # one pair failed, in the share of one of them
    assert "6 fused, 1 failed" in texts[0] and "report:" in texts[0]
    assert texts[1:] == [""] * (count - 1)
    told = [line for error in errors for line in error.splitlines() if "not an image" in line]
    assert len(told) == 1 and f"{BAD}.png" in told[0]
    written = sorted(path.name for path in alone.glob("*.png"))
    assert written == [f"{name}.png" for name in NAMES if name != BAD]
    assert sorted(path.name for path in out.glob("*.png")) == written
    for name in written:
        assert (out / name).read_bytes() == (alone / name).read_bytes(), name
    assert len(scores(alone / "report")) == 3 * 6  # and the two baselines
    assert scores(out / "report") == scores(alone / "report")


def test_two_processes_score_what_one_does(folders, alone):
    out = folders / "scores"
    command = [
        "-m",
        "cddfuse_jax.evaluate",
        "--fused",
        str(alone),
        "--out",
        str(out),
        "--workers=1",
    ]
    command += ["--vi", str(folders / "vi"), "--ir", str(folders / "ir")]
    codes, texts, errors = run_together(command, 2, 1)
    assert codes == [0, 0], errors
    assert texts[0].startswith("protocol release") and texts[1] == ""
    assert errors[0].count("not scored, not in all folders") == 2
    assert scores(out) == scores(alone / "report")


def test_existing_outputs_stop_all_processes(folders, tiny_weights, alone):
    before = {path: path.read_bytes() for path in alone.glob("*.png")}
    codes, texts, errors = run_together(fuse_command(folders, tiny_weights, alone), 2, 1)
    assert set(codes) <= {1, 2} and 2 in codes
    assert "outputs exist already" in errors[0] + errors[1]
    assert texts == ["", ""]
    assert {path: path.read_bytes() for path in alone.glob("*.png")} == before


def test_a_video_is_fused_by_one_process_alone(folders, tiny_weights):
    command = [*fuse_command(folders, tiny_weights, folders / "out.mp4"), "--fps=25"]
    codes, _, errors = run_together(command, 2, 1)
    assert set(codes) <= {1, 2} and 2 in codes
    assert "error: a video is fused by one process, got 2; start one alone" in "".join(errors)


def test_a_fuser_on_another_device_gives_the_same(tiny_params):
    rng = np.random.default_rng(1)
    pair = rng.integers(0, 256, (2, 16, 18), np.uint8)
    fuser = Fuser(tiny_params)
    np.testing.assert_array_equal(fuser.on(jax.devices()[-1], 3)(*pair), fuser(*pair))


@pytest.mark.parametrize("parts", [1, 2, 3, 9])
def test_shares_joined_are_the_whole_in_order(monkeypatch, parts):
    items, shares = list("abcdefg"), []
    for number in range(parts):
        monkeypatch.setattr(processes, "_member", SimpleNamespace(count=parts, number=number))
        shares.append(processes.share(items))
    assert processes.joint(shares) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_sigterm_to_one_ends_both(folders, tiny_weights):
    """There is nothing to save, so it ends at once, and the other one, waiting for it, says why."""
    out = folders / "terminated"
    with started([*fuse_command(folders, tiny_weights, out), "--evaluate"], 2) as both:
        deadline = time.monotonic() + 120
        while not list(out.glob("*.png")):  # both have joined
            assert time.monotonic() < deadline
            time.sleep(0.01)
        both[0].send_signal(signal.SIGTERM)
        assert both[0].wait(timeout=30) == -signal.SIGTERM
        _, error = both[1].communicate(timeout=60)
    assert both[1].returncode == 1, error
    assert re.search(r"^process 1: error: process 0 of this run cannot be reached; ", error, re.M)
