"""The network as ONNX: any size, what JAX computes, written whole or not at all."""

import sys

import numpy as np
import pytest
from agreement import assert_fused
from programs import ends

from cddfuse_jax.errors import InputError
from cddfuse_jax.export import __main__ as export
from cddfuse_jax.export import onnx_file
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.weights.any_format import load_params

onnx = pytest.importorskip("onnx", reason="ONNX needs the extra [onnx]")
pytest.importorskip("onnxruntime", reason="ONNX needs the extra [onnx]")


@pytest.fixture(autouse=True)
def one_size(monkeypatch):
    """Judge at one size, so that two programs are compiled and not six."""
    monkeypatch.setattr(onnx_file, "SIZES", [(33, 47)] * 3)


@pytest.mark.parametrize(
    "residual",
    ["visible", *(pytest.param(other, marks=pytest.mark.long) for other in ("sum", "none"))],
)
def test_it_computes_what_jax_does_at_any_size(residual):
    from cddfuse_jax.export.onnx_graph import fuse_graph

    params = load_params("small")
    fused = onnx_file.runner(fuse_graph(params, residual, "float32").SerializeToString())
    rng = np.random.default_rng(1)
    for n, height, width in ((1, 2, 2), (2, 19, 8)):
        pair = rng.random((2, n, height, width), np.float32)
        for found, *images in zip(fused(*pair), *pair, strict=True):
            assert_fused(found, CDDFuse.from_params(params), params, *images, residual)


def test_the_command_writes_small_below_a_megabyte_with_names_and_free_sizes(tmp_path, capsys):
    file = tmp_path / "small.onnx"
    assert ends(export.main, "--weights", "small", "--format", "onnx", "--out", file) == 0
    assert "ONNX Runtime is off by at most" in capsys.readouterr().out
    assert file.stat().st_size < 10**6
    graph = onnx.load(file).graph
    named = [*graph.input, *graph.output]
    assert [each.name for each in named] == ["visible", "infrared", "fused"]
    assert all(
        [axis.dim_param for axis in each.type.tensor_type.shape.dim] == ["n", "h", "w"]
        for each in named
    )
    half = tmp_path / "half.onnx"
    more = ("--format", "onnx", "--dtype", "float16")
    assert ends(export.main, "--weights", "small", *more, "--out", half) == 0
    assert half.stat().st_size < 0.6 * file.stat().st_size
    assert [each.type.tensor_type.elem_type for each in onnx.load(half).graph.input] == [1, 1]


def test_a_graph_that_is_not_the_network_is_not_written(monkeypatch):
    from cddfuse_jax.export import onnx_graph

    monkeypatch.setattr(onnx_graph, "gelu", lambda g, x: g.op("Relu", x))
    with pytest.raises(InputError, match=r"not written: on .* ONNX Runtime is off by"):
        onnx_file.onnx_model(load_params("small"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--format", "onnx", "--platforms", "cpu"], "--platforms is for StableHLO"),
        (["--dtype", "float16"], "--dtype is for --format onnx"),
        (["--out", "f.onnx"], "f.onnx is to be stablehlo; give --format onnx"),
    ],
)
def test_options_of_the_other_format_are_refused(tmp_path, capsys, arguments, told):
    assert ends(export.main, "--out", tmp_path / "f", *arguments) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_without_the_extra_it_is_one_line(tmp_path, monkeypatch, capsys, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, "cddfuse_jax.export.onnx_graph", raising=False)
    file = tmp_path / "m.onnx"
    assert ends(export.main, "--weights", "small", "--format", "onnx", "--out", file) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and "[onnx]" in told and told.count("\n") == 1
    assert not file.exists()
