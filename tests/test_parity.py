import json
import os
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from agreement import FACTOR, assert_fused

from cddfuse_jax import parity
from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.errors import InputError
from cddfuse_jax.images.image_files import write_png
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.release import comparison
from cddfuse_jax.release.checkout import load_release
from cddfuse_jax.release.comparison import Errors, judge
from cddfuse_jax.release.features import run_release
from cddfuse_jax.weights.any_format import save_params
from cddfuse_jax.weights.torch_weights import state_dicts

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
NETWORK = Path(__file__).with_name("torch_network.py")  # as the release's net.py, in PyTorch


@pytest.fixture
def fake_torch(monkeypatch):
    """As much of PyTorch and einops as building the release's modules takes."""
    torch = type(sys)("torch")
    torch.from_numpy = lambda array: array
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "einops", type(sys)("einops"))


@pytest.fixture
def release(tmp_path):
    """A folder with a ``net.py`` that computes; needs PyTorch."""
    pytest.importorskip("einops", reason="needs the torch extra")
    torch = pytest.importorskip("torch", reason="needs the torch extra")
    torch.set_num_threads(1)  # its threads wait for each other where others are busy
    return checkout(tmp_path / "release", NETWORK.read_text())


def checkout(folder, net):
    folder.mkdir()
    (folder / "net.py").write_text(net)
    return folder


def test_crops_are_of_every_pair_and_of_every_size():
    pairs = {name: synthetic_pair(seed, 140, 150) for seed, name in enumerate("ab")}
    crops = list(parity._crops(pairs, 6))
    assert [name.split("+")[0] for name, *_ in crops] == [
        "a 96x64", "b 96x64", "a 96x96", "b 96x96", "a 101x131", "b 101x131"
    ]  # fmt: skip
    assert len({name.partition("+")[2] for name, *_ in crops}) > 1
    for name, *images in crops:
        left, top = map(int, name.split("+")[1:])
        for image, whole in zip(images, pairs[name[0]], strict=True):
            height, width = image.shape
            assert f"{width}x{height}" in name
            np.testing.assert_array_equal(image, whole[top : top + height, left : left + width])
    assert [name for name, *_ in parity._crops(pairs, 6)] == [name for name, *_ in crops]


def test_a_folder_gives_its_first_five_pairs(tmp_path):
    for side in ("vi", "ir"):
        for number in range(7):
            image = np.full((131, 101), 10 * number + len(side), np.uint8)
            write_png(tmp_path / side / f"{number}.png", image)
    pairs = parity._read_pairs(str(tmp_path / "vi"), str(tmp_path / "ir"))
    assert list(pairs) == list("01234")
    assert pairs["3"][0].max() == pytest.approx(32 / 255)


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
    sizes = {"dim": 64, "num_blocks": [4, 4], "heads": [8, 8, 8]}
    sizes |= {"inp_channels": 1, "out_channels": 1}
    assert modules["DIDF_Encoder"].sizes == modules["DIDF_Decoder"].sizes == sizes
    assert modules["DIDF_Encoder"].detailFeature.sizes == {"num_layers": 3}
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
    for name, shape in (("small", (131, 100)), ("large", (131, 101))):
        write_png(tmp_path / f"{name}.png", np.zeros(shape, np.uint8))
    for name in ("empty", "nothing"):
        (tmp_path / name).mkdir()

    def error(*arguments, weights=release_pth):
        with pytest.raises(InputError) as caught:
            parity.main(["--release", str(tmp_path), "--weights", str(weights), *arguments])
        return str(caught.value)

    names = ("small.png", "large.png", "empty", "nothing")
    small, large, empty, nothing = (str(tmp_path / name) for name in names)
    assert "both images must have one size" in error("--vi", small, "--ir", large)
    assert "pairs of 101x131 pixels or more, small is smaller" in error(
        "--vi", small, "--ir", small
    )
    assert "found none" in error("--vi", empty, "--ir", nothing)
    assert "--vi and --ir belong together" in error("--vi", small)
    assert "no such file" in error("--vi", large, "--ir", str(tmp_path / "none.png"))
    assert "--crops must be 2 or more" in error("--crops", "1")
    assert "no PyTorch checkpoint" in error(weights=small)


@pytest.mark.parametrize(
    ("gelu", "code"), [("gelu(a)", 0), ('gelu(a, approximate="tanh")', 1)], ids=["equal", "tanh"]
)
def test_the_command(release, tiny_weights, tmp_path, capsys, monkeypatch, gelu, code):
    """Of a right and of a wrong network; on any CPU, so in wider bounds than the rule's."""
    monkeypatch.setattr(parity, "SIZES", ((19, 22),))
    for bound in ("RMS_FACTOR", "MAX_FACTOR"):
        monkeypatch.setattr(comparison, bound, FACTOR)
    net = release / "net.py"
    net.write_text(net.read_text().replace("gelu(a)", gelu))
    arguments = ["--release", str(release), "--weights", str(tiny_weights), "--crops", "6"]
    assert parity.main([*arguments, "--json", str(tmp_path / "errors.json")]) == code
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 1 + 13 + 2
    assert lines[-1].startswith(("HOLDS: all 13", "DOES NOT HOLD: 13 of 13")[code])
    kept = json.loads((tmp_path / "errors.json").read_text())
    assert [len(kept[part]) for part in ("verdicts", "errors")] == [13, 13 * 6]
    again = judge([Errors(**row) for row in kept["errors"]])
    assert [row.rms for row in again] == [row["rms"] for row in kept["verdicts"]]


def test_weights_written_here_load_and_fuse_in_pytorch(release, tiny_params, tmp_path):
    """As `test_IVF.py` loads them: under DataParallel, strictly, and as nothing but tensors."""
    torch = pytest.importorskip("torch")
    save_params(tmp_path / "written.pth", tiny_params, {})
    content = torch.load(tmp_path / "written.pth", weights_only=True)
    assert {m: [*keys] for m, keys in content.items()} == {
        m: [*keys] for m, keys in state_dicts(tiny_params).items()
    }
    modules = load_release(release, jax.tree.map(np.zeros_like, tiny_params))
    for name, module in modules.items():
        wrapped = torch.nn.DataParallel(module)
        assert not any(map(torch.any, wrapped.state_dict().values()))
        wrapped.load_state_dict(content[name], strict=True)
    pair = synthetic_pair(3, 22, 27)
    fused = run_release(modules, *pair, "float32")
    model = CDDFuse.from_params(tiny_params)
    for residual in ("visible", "sum", "none"):
        assert_fused(fused[f"fuse_{residual}"][0, 0], model, tiny_params, *pair, residual)


def test_against_a_checkout_of_the_release(release_pth, capsys):
    """Needs PyTorch, and the path of a checkout in the variable CDDFUSE_RELEASE."""
    folder = os.environ.get("CDDFUSE_RELEASE")
    if not folder:
        pytest.skip("needs a checkout of the PyTorch release: set CDDFUSE_RELEASE to its folder")
    pytest.importorskip("torch", reason="needs the torch extra")
    pytest.importorskip("einops", reason="needs the torch extra")
    assert parity.main(["--release", folder, "--weights", str(release_pth)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("HOLDS: all 13")
