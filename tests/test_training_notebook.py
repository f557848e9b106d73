"""The notebook that trains on a GPU, from its settings to a fused pair: on a CPU, with small ones.

Not run: installing, an accelerator, the full recipe (of its stages only the second: the program
of either takes most of the time to compile).
"""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.weights.any_format import load_meta

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "train_on_a_gpu.ipynb"
SMALL = [
    *("--config.batch_size=4", "--config.reconstruction_epochs=0", "--config.fusion_epochs=1"),
    *("--config.model.features=8", "--config.model.heads=2", "--config.model.blocks=1"),
    *("--config.model.coupling_layers=1", "--config.model.remat=false", "--config.log_every=1"),
]


def cells(kind: str) -> list[dict]:
    found = json.loads(NOTEBOOK.read_text())["cells"]
    return [
        cell | {"source": "".join(cell["source"])} for cell in found if cell["cell_type"] == kind
    ]


@pytest.fixture
def msrs(tmp_path):
    """A folder as MSRS's: three drawn pairs to train on and one to test."""
    for part, seeds in (("train", range(3)), ("test", range(3, 4))):
        for seed in seeds:
            for side, image in zip(("vi", "ir"), synthetic_pair(seed, 48, 64), strict=True):
                folder = tmp_path / "MSRS" / part / side
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.rint(255 * image).astype(np.uint8)).save(folder / f"{seed}.png")
    return tmp_path / "MSRS"


@pytest.mark.long
def test_from_settings_to_a_fused_pair(msrs, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
    small = {"patches": ["--size", 16, "--stride", 16], "recipe": SMALL, "msrs": msrs}
    names: dict = {}
    for cell in cells("code"):
        exec(compile(cell["source"], cell["id"], "exec"), names)
        if "parameters" in cell["metadata"].get("tags", ()):
            assert set(small) <= set(names)
            names.update(small)
    told = capfd.readouterr().out
    assert "\ncpu [" in told
    assert "patches kept" in told
    meta = load_meta(str(tmp_path / "work" / "ivf"))
    assert meta["config"]["residual"] == "visible"
    steps = meta["steps_per_epoch"]
    assert meta["pairs"] // 4 == steps > 1
    assert f"trained {steps} steps" in told
    rows = json.loads((tmp_path / "work" / "scores" / "scores.json").read_text())["MSRS"]["rows"]
    assert {"cddfuse-jax", "published CDDFuse", "baseline max"} <= set(rows)
    assert rows["cddfuse-jax"]["scores"]["EN"] > 0
    assert sorted(file.name for file in names["fused"].glob("*.png")) == ["3.png"]
    assert Image.open(names["fused"] / "3.png").size == (64, 48)


def test_what_is_missing_or_fails_stops_the_notebook(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    sources = [cell["source"] for cell in cells("code")]
    for source in sources[:2]:
        exec(source, names)
    (data,) = (source for source in sources if "data.patches" in source)
    with pytest.raises(FileNotFoundError, match="MSRS/train/vi is missing; the settings above"):
        exec(data, names)
    with pytest.raises(RuntimeError, match="exit code 3"):
        names["run"]("sh", "-c", "echo why >&2; exit 3")
    assert capfd.readouterr().out.endswith("\nwhy\n")
    assert list(tmp_path.iterdir()) == []
