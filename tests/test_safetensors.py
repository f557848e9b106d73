"""safetensors: read and written where weights are, without PyTorch; the release loads them."""

import functools
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy
from stored import refusal

from cddfuse_jax.errors import InputError
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.weights import any_format as files
from cddfuse_jax.weights import torch_weights
from cddfuse_jax.weights.shipped import SHIPPED

ROOT = Path(__file__).resolve().parents[1]
load_error = functools.partial(refusal, files.load_params)


@pytest.fixture
def written(tiny_params, tmp_path):
    meta = {"config": {"residual": "none", "seed": 3}, "data": "none at all"}
    files.save_params(tmp_path / "w.safetensors", tiny_params, meta)
    return tmp_path / "w.safetensors"


def assert_equal(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_every_number_and_what_is_told_of_them_come_back(written, tiny_params):
    assert_equal(files.load_params(written), tiny_params)
    meta = files.load_meta(written)
    assert meta["config"] == {"residual": "none", "seed": 3}
    assert meta["data"] == "none at all"
    assert files.load(written).residual == "none"
    assert Fuser(written).residual == "none"


def test_names_are_the_release_s_after_their_module(written, tiny_params):
    tensors = safetensors.numpy.load_file(written)
    expected = {
        f"{module}.{key}": array
        for module, state in torch_weights.state_dicts(tiny_params).items()
        for key, array in state.items()
    }
    assert "DIDF_Encoder.module.patch_embed.proj.weight" in tensors
    assert_equal(tensors, expected)
    with safetensors.safe_open(written, framework="np") as file:
        metadata = file.metadata()
    assert metadata["residual"] == "none"
    assert json.loads(metadata["sizes"]) == {
        "features": 8, "heads": 2, "blocks": 1, "channels": 1, "coupling_layers": 1
    }  # fmt: skip


def test_files_of_other_programs(written, tiny_params, tmp_path):
    tensors = safetensors.numpy.load_file(written)
    plain = {name.replace(".module.", "."): array for name, array in tensors.items()}
    other = tmp_path / "other.safetensors"
    safetensors.numpy.save_file(plain, other)
    assert_equal(files.load_params(other), tiny_params)
    assert files.load_meta(other) == {} and files.load(other).residual is None
    safetensors.numpy.save_file(plain, other, {"config": "no JSON", "residual": "sideways"})
    assert files.load(other).residual is None
    halves = {name: array.astype(np.float16) for name, array in tensors.items()}
    safetensors.numpy.save_file(halves, other)
    expected = jax.tree.map(lambda x: x.astype(np.float16).astype(np.float32), tiny_params)
    assert_equal(files.load_params(other), expected)


def test_what_is_wrong_is_one_line(written, tmp_path):
    assert load_error(tmp_path / "absent.safetensors") == "no such file"
    whole = written.read_bytes()
    for content in (b"", b"nothing of the kind", whole[:-100], whole[:50], b"\xff" * 64):
        written.write_bytes(content)
        assert load_error(written).startswith("truncated, or no safetensors file (")
    written.write_bytes(whole)
    tensors = safetensors.numpy.load_file(written)
    name = "BaseFuseLayer.module.attn.scale"
    wrong = {**tensors, name: tensors[name].astype(np.int8)}
    safetensors.numpy.save_file(wrong, written)
    assert load_error(written) == f"{name} is of type I8, weights are F16, BF16, F32 or F64"
    del wrong[name]
    safetensors.numpy.save_file({**wrong, "lost": np.zeros(1, np.float32)}, written)
    assert load_error(written) == (
        "not CDDFuse weights; 1 missing: BaseFuseLayer attn.scale; 1 extra: lost "
    )


def test_a_file_that_cannot_be_written_leaves_nothing(tiny_params, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        files.save_params(tmp_path / "file" / "w.safetensors", tiny_params, {})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_release_loads_what_the_docs_say(monkeypatch, tmp_path):
    """The lines in the docs make of the shipped file what the release saves."""
    pytest.importorskip("torch", reason="running the docs' lines needs the extra [torch]")
    text = (ROOT / "docs" / "coming_from_pytorch.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?load_file.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ivf.safetensors").write_bytes(SHIPPED["ivf"].file.read_bytes())
    namespace: dict = {}
    exec(code, namespace)
    assert {name: len(state) for name, state in namespace["checkpoint"].items()} == {
        "DIDF_Encoder": 89, "DIDF_Decoder": 47, "BaseFuseLayer": 11, "DetailFuseLayer": 11
    }  # fmt: skip
    assert_equal(files.load_params(tmp_path / "CDDFuse_IVF.pth"), files.load_params("ivf"))
