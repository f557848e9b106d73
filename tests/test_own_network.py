"""A branch of one's own: one file and one option, loaded, fused and exported."""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from agreement import assert_fused
from numerics import starting_params
from PIL import Image
from programs import HANG_SECONDS, ends, environment
from stored import write_checkpoint

from cddfuse_jax import Fuser
from cddfuse_jax.config import release
from cddfuse_jax.convert import main as convert
from cddfuse_jax.errors import InputError
from cddfuse_jax.export.__main__ import main as export
from cddfuse_jax.fusing import memory
from cddfuse_jax.fusing.network_check import check_gradient
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.training.recipe import make_model
from cddfuse_jax.weights.any_format import load

BRANCH = '''
import jax
from flax import linen as nn
from cddfuse_jax.models.convolutions import torch_uniform
from cddfuse_jax.models.layers import LayerNorm, conv3x3, kernel, sums


class Plain(nn.Module):
    """A 3x3 convolution with a residual, weighed by how far channels agree over all pixels."""

    features: int

    @nn.compact
    def __call__(self, x):
        c = self.features
        y = conv3x3(LayerNorm(name="norm")(x), kernel(self, "kernel", (3, 3, c, c), x))
        z = conv3x3(x, kernel(self, "other", (3, 3, c, c), x))
        found = sums(y, z)
        weight = nn.sigmoid(found.qk.mean(-1) / (1 + found.qq))
        return x + y * weight[:, None, None].astype(x.dtype)

class Steep(nn.Module):
    """A branch whose derivative is twice too large."""

    @nn.compact
    def __call__(self, x):
        steep = jax.custom_vjp(lambda x: 3 * x)
        steep.defvjp(lambda x: (3 * x, None), lambda _, cotangent: (6 * cotangent,))
        return steep(x)
'''


@pytest.fixture(scope="module", autouse=True)
def module_of_ones_own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mine")
    (folder / "mine.py").write_text(BRANCH)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


SIZES = {"features": 8, "heads": 2, "blocks": 1, "coupling_layers": 1}
OWN = SIZES | dict.fromkeys(("block", "base", "detail"), "mine:Plain")


@pytest.mark.long
def test_a_wrong_derivative_is_found_out():
    check_gradient(CDDFuse(**OWN))
    with pytest.raises(InputError, match=r"derivative is .* where finite differences find"):
        check_gradient(CDDFuse(**OWN | {"base": "mine:Steep"}))


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere:Block", "no module 'nowhere' in the current folder"),
     ("mine:Plian", "has no 'Plian'; did you mean Plain"), ("mine.py:Plain", "no such file"),
     ("os:sep", "flax.linen.Module"), ("mine", "expected MODULE:NAME")],
)  # fmt: skip
def test_what_is_no_branch_is_refused(name, message):
    with pytest.raises(InputError, match=message):
        CDDFuse(**SIZES, base=name).init(jax.random.key(0), *np.zeros((2, 1, 8, 8, 1)))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """What training leaves, with random params."""
    config = release()
    config.model.update(OWN)
    params = starting_params(make_model(config))
    workdir = tmp_path_factory.mktemp("own") / "run"
    return write_checkpoint(workdir, params, {"config": config.to_dict()})


def test_a_run_is_loaded_as_what_it_is(run):
    weights = load(run)
    assert weights.model.base == "mine:Plain" and weights.model.features == 8
    assert "kernel" in weights.params["encoder"]["base"]


@pytest.fixture
def folder(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for number, size in enumerate(((25, 31), (26, 31), (25, 30))):
        for side in ("vi", "ir"):
            file = tmp_path / side / f"{number}.png"
            file.parent.mkdir(exist_ok=True)
            Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(file)
    return tmp_path


@pytest.mark.long
def test_whole_in_one_shape_and_in_strips_it_is_fused_alike(run, folder, monkeypatch):
    pair = [np.asarray(Image.open(folder / side / "0.png")) for side in ("vi", "ir")]
    floats = [np.float32(side / 255) for side in pair]
    whole, weights = Fuser(run, stretch=False)(*floats), load(run)
    fuser = Fuser(run, stretch=False)
    fuser.expect([(25, 31), (26, 31), (25, 30)] * 9)
    assert fuser._buckets  # in one shape
    inside = fuser(*floats)
    monkeypatch.setattr(memory, "PROGRAM_BYTES", 0)
    limit = int((memory.KEPT_ARRAYS * 25 + memory.STRIP_ARRAYS * 8) * 8 * 4 * 31)
    strips = Fuser(run, stretch=False, max_memory=limit)(*floats)
    for fused in (whole, inside, strips):
        assert_fused(fused, weights.model, weights.params, *floats)


def test_it_is_exported_or_refused_in_a_line(run, tmp_path, capsys):
    out = ["--weights", run, "--out", tmp_path / "m"]
    assert ends(export, *out, "--platforms", "cpu") == 0
    capsys.readouterr()
    assert ends(export, *out, "--format", "onnx", "--overwrite") == 2
    assert ends(convert, run, tmp_path / "m.pth") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all("the release's network" in line for line in lines)


def test_commands_find_the_module_in_the_current_folder(run, folder, module_of_ones_own):
    done = subprocess.run(
        [sys.executable, "-m", "cddfuse_jax.fuse", "--weights", run, "--vi", folder / "vi/0.png",
         "--ir", folder / "ir/0.png", "--out", folder / "fused.png"],
        cwd=module_of_ones_own, capture_output=True, text=True, timeout=HANG_SECONDS,
        env=environment(1),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (folder / "fused.png").exists()
