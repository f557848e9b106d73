"""The converter as a command: what it writes, what it refuses, and that refusing writes nothing."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from programs import HANG_SECONDS

from cddfuse_jax.console import run
from cddfuse_jax.errors import InputError
from cddfuse_jax.weights.any_format import load_meta, load_params
from cddfuse_jax.weights.torch_weights import state_dicts

SCRIPT = Path(__file__).resolve().parents[1] / "convert_torch_weights.py"


@pytest.fixture
def convert(monkeypatch, capsys):
    """Run the script with arguments; return exit code, output and errors."""
    spec = importlib.util.spec_from_file_location("convert_torch_weights", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            run(module.main)
        captured = capsys.readouterr()
        return stopped.value.code, captured.out, captured.err

    return call


def test_to_safetensors_and_from_there(convert, release_pth, release_params, tmp_path):
    whole, again = tmp_path / "w.safetensors", tmp_path / "again.safetensors"
    code, out, _ = convert(release_pth, whole, "--note", "data=none", "--note", "by=a=b")
    assert code == 0 and "158 tensors, 1,188,272 parameters" in out
    jax.tree.map(np.testing.assert_array_equal, load_params(whole), release_params)
    jax.tree.map(np.testing.assert_array_equal, load_params(release_pth), release_params)
    assert load_meta(release_pth) == {}
    told = {"data": "none", "by": "a=b", "converted_from": release_pth.name}
    assert told.items() <= load_meta(whole).items()
    assert convert(whole, again)[0] == 0
    jax.tree.map(np.testing.assert_array_equal, load_params(again), release_params)
    assert load_meta(again) == load_meta(whole) | {"converted_from": whole.name}


def test_a_run_s_residual_goes_with_its_weights(convert, written_run, tmp_path):
    assert convert(written_run, tmp_path / "w.safetensors")[0] == 0
    meta, saved = load_meta(tmp_path / "w.safetensors"), load_meta(written_run)
    assert meta["config"] == saved["config"] and meta["residual"] == "visible"
    assert "digest" in saved and "digest" not in meta


def test_another_ending_is_refused(convert, release_pth, tmp_path):
    code, _, err = convert(release_pth, tmp_path / "converted")
    assert code == 2
    line = f"error: {tmp_path}/converted: weights are written to FILE.safetensors or FILE.pth\n"
    assert err == line and not (tmp_path / "converted").exists()


def test_wrong_arguments_are_one_line(convert):
    for arguments in (["only_one"], ["a", "b", "--note", "nothing"]):
        code, _, err = convert(*arguments)
        assert code == 2 and err.count("\n") == 1


def test_places_without_weights(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        load_params(tmp_path / "absent")
    with pytest.raises(InputError, match="no such file"):
        load_params(tmp_path / "absent.pth")
    with pytest.raises(InputError, match="no weights there"):
        load_params(tmp_path)


def test_to_torch_and_back(convert, release_pth, release_params, tmp_path, monkeypatch):
    """Without PyTorch; where it is, it reads the same numbers under the same names."""
    with monkeypatch.context() as hidden:
        hidden.setitem(sys.modules, "torch", None)
        assert convert(release_pth, tmp_path / "back.pth")[0] == 0
    jax.tree.map(np.testing.assert_array_equal, load_params(tmp_path / "back.pth"), release_params)
    torch = pytest.importorskip("torch", reason="reading by PyTorch itself needs the extra [torch]")
    content = torch.load(tmp_path / "back.pth")
    expected = state_dicts(release_params)
    assert list(content) == list(expected)
    for module, tensors in expected.items():
        assert list(content[module]) == list(tensors)
        for key, array in tensors.items():
            np.testing.assert_array_equal(content[module][key].numpy(), array)


FULL_DISK = """
import resource, signal, sys
from cddfuse_jax import console, convert

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # bytes, of any file
for target in ("a.safetensors", "a.pth"):
    sys.argv = ["convert", sys.argv[1], target]
    try:
        console.run(convert.main)
    except SystemExit as end:
        print(end.code, flush=True)
    sys.argv = [sys.argv[0], sys.argv[1]]
"""


def test_a_full_disk_is_one_line_and_leaves_nothing(tiny_weights, tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tiny_weights)],
        cwd=tmp_path, capture_output=True, text=True, timeout=HANG_SECONDS,
    )  # fmt: skip
    assert run.stdout.split() == ["1", "1"], run.stderr
    lines = run.stderr.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["error"] * 2
    for name, line in zip(("a.safetensors", "a.pth"), lines, strict=True):
        assert line == f"error: {name} could not be written: File too large"
    assert list(tmp_path.iterdir()) == []
