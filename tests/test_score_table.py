"""The scoring half of experiments/score_table.py, with a fake in place of the fuse program."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from cddfuse_jax import console
from cddfuse_jax.images.image_files import read_grey, write_png

SCRIPT = Path(__file__).resolve().parents[1] / "experiments" / "score_table.py"


@pytest.fixture
def score_table():
    spec = importlib.util.spec_from_file_location("score_table", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_two_seeds_of_one_set(score_table, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    for side in ("ir", "vi"):
        image = rng.integers(0, 256, (48, 48), dtype=np.uint8)
        write_png(tmp_path / "data" / "TNO" / side / "a.png", image)
    calls = []

    def fake_fuse(weights, visible, infrared, out, residual):
        calls.append((str(weights), residual))
        seed = len(calls)
        write_png(
            out / "a.png",
            read_grey(visible / "a.png") // 2 + read_grey(infrared / "a.png") // (2 + seed),
        )

    monkeypatch.setattr(score_table, "fuse", fake_fuse)
    arguments = f"--weights w0 --weights w1 --data {tmp_path}/data --out {tmp_path}/out"
    monkeypatch.setattr(sys, "argv", ["score_table", *arguments.split()])
    with pytest.raises(SystemExit) as end:
        console.run(score_table.main)
    assert end.value.code == 0
    assert calls == [("w0", "visible"), ("w1", "visible")]
    out, err = capsys.readouterr()
    assert "left out: MSRS" in err
    lines = (tmp_path / "out" / "table.md").read_text().splitlines()
    assert out.splitlines()[: len(lines)] == lines
    assert "protocol release" in lines[0]
    assert lines[2].startswith("| | EN | SD | SF | MI | SCD | VIF | Qabf | SSIM |")
    assert lines[4].startswith("| CDDFuse-JAX | ")
    assert lines[4].count("±") == 8
    assert (tmp_path / "out" / "TNO" / "report.html").is_file()


def test_no_test_set_is_refused(score_table, tmp_path, monkeypatch, capsys):
    arguments = f"--weights w --data {tmp_path} --out {tmp_path}/out"
    monkeypatch.setattr(sys, "argv", ["score_table", *arguments.split()])
    with pytest.raises(SystemExit) as end:
        console.run(score_table.main)
    assert end.value.code == 2
    assert "no test set is in" in capsys.readouterr().err
