"""Custom code of a network: found, kept with weights, and used by every command."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import parts
import pytest
from numerics import starting_params
from PIL import Image
from programs import HANG_SECONDS, ends, environment
from stored import write_checkpoint

from cddfuse_jax import Fuser, custom_code
from cddfuse_jax.config import release
from cddfuse_jax.convert import main as convert
from cddfuse_jax.errors import InputError
from cddfuse_jax.export.__main__ import main as export
from cddfuse_jax.fusing.network_check import check_gradient
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.training.recipe import make_model
from cddfuse_jax.training.starting import with_sizes
from cddfuse_jax.weights.any_format import load, load_meta, load_params, save_params

CODE = Path(parts.__file__).read_text()


@pytest.fixture
def code(tmp_path, monkeypatch) -> Path:
    """The user's file, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CODE)
    return tmp_path / "mine.py"


def test_code_is_found_by_file_and_by_module_and_its_faults_are_one_line(code, monkeypatch):
    scale = custom_code.load("./mine.py:Scale")
    assert scale is custom_code.load(f"{code}:Scale")
    code.with_name("mine_by_name.py").write_text(CODE)  # no other test has imported it
    assert custom_code.load("mine_by_name:Scale").__name__ == "Scale"
    assert custom_code.file_of("mine_by_name:Scale").resolve() == code.with_name("mine_by_name.py")
    code.with_name("broken.py").write_text("x = 1\nimport nosuchmodule\n")
    code.with_name("typo.py").write_text("x = 1\ndef (:\n")
    code.with_name("program.py").write_text("import sys\nsys.exit()\n")
    for name, message in (
        ("program.py:Scale", r"its code fails in program.py line 2 \(SystemExit"),
        ("broken:Scale", r"its code fails in broken.py line 2 \(ModuleNotFoundError: No module"),
        ("broken.py:Scale", r"its code fails in broken.py line 2"),
        ("typo:Scale", "its code fails in typo.py line 2 .SyntaxError"),
        ("mine.py:Scael", "has no 'Scael'; did you mean Scale"),
        ("nowhere:Scale", "no module 'nowhere' in the current folder"),
        ("Scale", "expected MODULE:NAME"),
    ):
        with pytest.raises(InputError, match=message) as error:
            custom_code.load(name)
        assert "\n" not in str(error.value)


@pytest.fixture
def config(tiny_config):
    """With `Scale` in place of every block and branch."""
    config = tiny_config.copy_and_resolve_references()
    config.model.update(dict.fromkeys(("block", "base", "detail"), "./mine.py:Scale"))
    return config


@pytest.fixture
def custom_params(config, code):
    return starting_params(make_model(config)), {"config": config.to_dict()}


def test_a_run_of_other_parts_is_built_from_its_config(code, config, tmp_path):
    config.model.merge = "./mine.py:larger"
    model = make_model(config)
    run = write_checkpoint(tmp_path / "run", starting_params(model), {"config": config.to_dict()})
    weights = load(run)
    assert weights.model == model
    assert weights.params["encoder"]["blocks"]["0"].keys() == {"weight"}


def test_one_file_holds_a_custom_network_and_never_runs_its_code(
    code, custom_params, tmp_path, capsys
):
    params, meta = custom_params
    file = tmp_path / "custom.safetensors"
    save_params(file, params, meta)
    code.unlink()
    jax.tree.map(np.testing.assert_array_equal, load_params(file), params)
    held = json.loads(json.dumps(load_meta(file)["code"]))
    assert held == {"mine.py": CODE}
    with pytest.raises(InputError, match="is not run from a weights file; write it out by cddfuse"):
        load(file)
    start = release()
    start.init_from = str(file)
    assert with_sizes(start, tmp_path).model.base == ""  # nor does a run that starts from it
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert ends(convert, file, elsewhere / "mine.py") == 0
    weights = load(file, own=[elsewhere / "mine.py"])
    assert weights.model.base == f"{elsewhere}/mine.py:Scale"
    pair = np.random.default_rng(0).random((2, 16, 16), np.float32)
    fused = Fuser(file, own=[elsewhere / "mine.py"])(*pair)
    assert np.ptp(fused) > 0.5
    assert ends(convert, file, tmp_path / "again.safetensors") == 0
    assert load_meta(tmp_path / "again.safetensors")["code"] == held
    capsys.readouterr()
    assert ends(convert, file, tmp_path / "other.py") == 2
    assert ends(convert, file, tmp_path / "m.pth") == 2
    lines = capsys.readouterr().err.splitlines()
    assert "holds no code called other.py, but mine.py" in lines[0]
    assert ".pth holds the release's network" in lines[1]


def test_code_that_is_not_the_one_trained_with_is_noted(code, custom_params, tmp_path, capsys):
    params, meta = custom_params
    save_params(tmp_path / "w.safetensors", params, meta | {"own": {"mine.py": "0123456789ab"}})
    load(tmp_path / "w.safetensors", own=[code])
    now = custom_code.digest(CODE.encode())
    assert f"its digest is {now} instead of 0123456789ab" in capsys.readouterr().err
    with pytest.raises(InputError, match="the release's network, which has no custom code"):
        load("small", own=[code])


def test_a_wrong_derivative_is_found_out():
    plain = {"features": 8, "heads": 2, "blocks": 1, "coupling_layers": 1}
    plain |= dict.fromkeys(("block", "base", "detail"), "parts:Pointwise")
    check_gradient(CDDFuse(**plain))
    with pytest.raises(InputError, match=r"derivative is .* where finite differences find"):
        check_gradient(CDDFuse(**plain | {"base": "parts:Steep"}))


@pytest.fixture
def run(tiny_config, tmp_path) -> Path:
    """What training leaves, with random params."""
    config = tiny_config.copy_and_resolve_references()
    config.model.update(dict.fromkeys(("block", "base", "detail"), "parts:Careful"))
    params = starting_params(make_model(config))
    return write_checkpoint(tmp_path / "run", params, {"config": config.to_dict()})


def test_it_is_exported_or_refused_in_a_line(run, tmp_path, capsys):
    out = ["--weights", run, "--out", tmp_path / "m"]
    assert ends(export, *out, "--platforms", "cpu") == 0
    capsys.readouterr()
    assert ends(export, *out, "--format", "onnx", "--overwrite") == 2
    assert ends(convert, run, tmp_path / "m.pth") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all("the release's network" in line for line in lines)


def test_commands_find_the_module_in_the_current_folder(run, tmp_path):
    rng = np.random.default_rng(0)
    for side in ("vi", "ir"):
        pixels = rng.integers(0, 256, (25, 31), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{side}.png")
    done = subprocess.run(
        [sys.executable, "-m", "cddfuse_jax.fuse", "--weights", run, "--vi", tmp_path / "vi.png",
         "--ir", tmp_path / "ir.png", "--out", tmp_path / "fused.png"],
        cwd=Path(parts.__file__).parent, capture_output=True, text=True, timeout=HANG_SECONDS,
        env=environment(1),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "fused.png").size == (31, 25)
