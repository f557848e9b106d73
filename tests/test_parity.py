import os
import sys

import numpy as np
import pytest

from cddfuse_jax import parity
from cddfuse_jax.errors import InputError
from cddfuse_jax.images.image_files import write_png
from cddfuse_jax.release.checkout import load_release
from cddfuse_jax.release.comparison import Comparison, compare, table

EPSILON = 2.0**-23
NET = """
import torch
from timm.models.layers import DropPath, to_2tuple, trunc_normal_
class Module:
    def __init__(self, **sizes): self.sizes = sizes
    def load_state_dict(self, state, strict):
        if "broken" in __file__: raise RuntimeError("size mismatch\\n\\tfor a.weight")
        self.state, self.strict = state, strict
    def eval(self): self.evaluating = True
Restormer_Encoder = Restormer_Decoder = BaseFeatureExtraction = DetailFeatureExtraction = Module
"""


@pytest.fixture
def fake_torch(monkeypatch):
    """As much of PyTorch and einops as building the release's modules takes."""
    torch = type(sys)("torch")
    torch.from_numpy = lambda array: array
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "einops", type(sys)("einops"))


def checkout(folder, net):
    folder.mkdir()
    (folder / "net.py").write_text(net)
    return folder


def one(port, release, largest=1.0):
    return Comparison("f", port, release, largest)


def test_errors_are_largest_differences():
    truth = {"b": np.array([[1.0, -3.0]]), "a": np.zeros((1, 2))}
    port = {"a": np.float32([[0, 0.25]]), "b": np.float32([[1.5, -3]])}
    release = {"a": np.float32([[-0.5, 0]]), "b": np.float32([[1, -4]])}
    assert compare(port, release, truth) == [
        Comparison("b", 0.5, 1.0, 3.0),
        Comparison("a", 0.25, 0.5, 0.0),
    ]


def test_the_difference_is_taken_in_float64():
    truth = {"a": np.array([1 + 2.0**-30])}
    (row,) = compare({"a": np.float32([1])}, {"a": np.float32([1])}, truth)
    assert row.port_error == row.release_error == 2.0**-30


def test_another_shape_is_no_match_even_where_it_broadcasts():
    truth = {"a": np.zeros((1, 2, 3, 4))}
    (row,) = compare({"a": np.zeros((1, 1, 1, 1))}, truth, truth)
    assert row.port_error == np.inf
    assert not row.passes


@pytest.mark.parametrize(
    ("row", "passes"),
    [
        (one(1.5e-6, 1e-6), True),
        (one(1.51e-6, 1e-6), False),
        (one(0.0, 0.0), True),
        (one(EPSILON, 0.0), True),
        (one(1.01 * EPSILON, 0.0), False),
        (one(8 * EPSILON, 1e-9, largest=8.0), True),
        (one(8.1 * EPSILON, 1e-9, largest=8.0), False),
        (one(float("nan"), 1e-6), False),
        (one(float("inf"), 1e-6), False),
        (one(float("nan"), float("nan"), float("nan")), False),
    ],
)
def test_the_yardstick(row, passes):
    assert row.passes is passes


def test_the_table_ends_with_the_verdict():
    good, bad = Comparison("good", 1e-7, 2e-7, 1.0), Comparison("bad", 3e-5, 1e-6, 1.0)
    lines = table([good, good]).splitlines()
    assert lines[1].split() == ["good", "1.00e-07", "2.00e-07", "0.50"]
    assert lines[-1] == "EQUAL: all 2 within 1.5x the release's own float32 error"
    lines = table([good, bad]).splitlines()
    assert lines[2].split() == ["bad", "3.00e-05", "1.00e-06", "30.00", "too", "far"]
    assert lines[-1] == "NOT EQUAL: 1 of 2 too far: bad"


@pytest.mark.parametrize("missing", ["torch", "einops"])
def test_without_the_torch_extra(tmp_path, release_pth, fake_torch, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=r"needs PyTorch .*pip install -e '\.\[torch\]'"):
        parity.main(["--release", str(tmp_path), "--weights", str(release_pth)])


def test_a_checkout_is_imported_without_timm_and_left_as_it_was(
    tmp_path, fake_torch, release_params, monkeypatch
):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    before = set(sys.modules), sys.path.copy()
    folder = checkout(tmp_path / "release", NET)
    modules = load_release(folder, release_params)
    assert [path.name for path in folder.iterdir()] == ["net.py"]
    assert (set(sys.modules), sys.path) == before
    assert sys.dont_write_bytecode is False
    assert {name: len(module.state) for name, module in modules.items()} == {
        "DIDF_Encoder": 89,
        "DIDF_Decoder": 47,
        "BaseFuseLayer": 11,
        "DetailFuseLayer": 11,
    }
    assert all(module.strict and module.evaluating for module in modules.values())
    assert modules["BaseFuseLayer"].sizes == {"dim": 64, "num_heads": 8}
    assert modules["DetailFuseLayer"].sizes == {"num_layers": 1}
    np.testing.assert_array_equal(
        modules["DIDF_Encoder"].state["patch_embed.proj.weight"][5, 0, 1, 2],
        release_params["encoder"]["patch_embed"][1, 2, 0, 5],
    )


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def f(:\n", "SyntaxError: invalid syntax"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import torch", "AttributeError: .*Restormer_Encoder"),
    ],
)
def test_a_checkout_that_cannot_be_imported(tmp_path, fake_torch, release_params, net, message):
    folder = checkout(tmp_path / "release", net)
    with pytest.raises(InputError, match=f"net.py: cannot be used .*{message}") as caught:
        load_release(folder, release_params)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_the_checkout(tmp_path, fake_torch, release_params):
    folder = checkout(tmp_path / "broken", NET)
    with pytest.raises(InputError, match=r"weights do not fit .*: size mismatch for a\.weight"):
        load_release(folder, release_params)


@pytest.mark.parametrize("folder", [".", "missing"])
def test_a_folder_without_the_network(tmp_path, fake_torch, release_params, folder):
    with pytest.raises(InputError, match=r"no net\.py there; give a checkout"):
        load_release(tmp_path / folder, release_params)


def test_bad_images_and_weights(tmp_path, release_pth):
    for name, shape in (("small", (4, 5)), ("large", (4, 6)), ("thin", (1, 5))):
        write_png(tmp_path / f"{name}.png", np.zeros(shape, np.uint8))

    def error(*arguments, weights=release_pth):
        with pytest.raises(InputError) as caught:
            parity.main(["--release", str(tmp_path), "--weights", str(weights), *arguments])
        return str(caught.value)

    small, large, thin = (str(tmp_path / f"{name}.png") for name in ("small", "large", "thin"))
    assert "both images must have one size" in error("--vi", small, "--ir", large)
    assert "at least 2x2 pixels" in error("--vi", thin, "--ir", thin)
    assert "--vi and --ir belong together" in error("--vi", small)
    assert "no such file" in error("--vi", small, "--ir", str(tmp_path / "none.png"))
    assert "no PyTorch checkpoint" in error(weights=small)


def test_against_a_checkout_of_the_release(release_pth, capsys):
    """Needs PyTorch, and the path of a checkout in the variable CDDFUSE_RELEASE."""
    folder = os.environ.get("CDDFUSE_RELEASE")
    if not folder:
        pytest.skip("needs a checkout of the PyTorch release: set CDDFUSE_RELEASE to its folder")
    pytest.importorskip("torch", reason="needs the torch extra")
    pytest.importorskip("einops", reason="needs the torch extra")
    assert parity.main(["--release", folder, "--weights", str(release_pth)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 18
    assert lines[-1].startswith("EQUAL: all 16")
