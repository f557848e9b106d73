"""The distribution `cddfuse-metrics`: the same scores in an environment without JAX."""

import csv
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from cddfuse_jax import metrics
from cddfuse_jax.images.image_files import write_png

SOURCE = Path(__file__).parents[1] / "packaging" / "metrics"
IMPORTED = "import sys, cddfuse_metrics as c; c.compute([[9, 1]], names='EN'); print(*sys.modules)"


def run(*command: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Path:
    """Build the wheel and install it in an environment of its own."""
    folder = tmp_path_factory.mktemp("package")
    wheel = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation",
                "-w", folder, SOURCE)  # fmt: skip
    assert wheel.returncode == 0, wheel.stderr
    venv.create(folder / "env", with_pip=True)
    programs = folder / "env" / ("Scripts" if sys.platform == "win32" else "bin")
    installed = run(programs / "python", "-m", "pip", "install", *folder.glob("*.whl"))
    if "No matching distribution" in installed.stderr:
        pytest.skip("needs a package index that has NumPy, SciPy, Pillow and scikit-image")
    assert installed.returncode == 0, installed.stderr
    return programs


@pytest.mark.slow
@pytest.mark.long
def test_a_table_without_jax(programs, tmp_path):
    loaded = run(programs / "python", "-c", IMPORTED).stdout.split()
    assert "cddfuse_metrics" in loaded
    assert not {"jax", "jaxtyping", "cddfuse_jax"} & set(loaded)

    rng, images = np.random.default_rng(0), {}
    for name in ("a", "b", "c"):
        images[name] = rng.integers(0, 256, (3, 44, 46), dtype=np.uint8)
        for side, image in zip(("fused", "vi", "ir"), images[name], strict=True):
            write_png(tmp_path / side / f"{name}.png", image)
    (tmp_path / "fused" / "c.png").write_bytes(b"no image")
    sides = ["--vi", tmp_path / "vi", "--ir", tmp_path / "ir", "--protocol", "tang"]
    done = run(
        programs / "cddfuse-metrics", "--fused", tmp_path / "fused", *sides,
        "--metrics", "MI,VIF,SSIM", "--csv", tmp_path / "scores.csv",
    )  # fmt: skip
    assert done.returncode == 1
    assert "protocol tang, means over 2 pairs" in done.stdout
    assert [line[:15] for line in done.stderr.splitlines()] == ["not scored: c: "]
    with open(tmp_path / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["a", "b"]
    for row in rows:
        expected = metrics.compute(*images[row["image"]], ["MI", "VIF", "SSIM"], "tang")
        for name, value in expected.items():
            assert float(row[name]) == pytest.approx(value, rel=1e-8)

    wrong = run(programs / "cddfuse-metrics", "--fused", tmp_path / "none", *sides)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "none: no such folder" in wrong.stderr
