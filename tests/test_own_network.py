"""A branch of one's own: one file and one option, loaded, fused and exported."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numerics import starting_params
from PIL import Image
from programs import HANG_SECONDS, ends, environment
from stored import write_checkpoint

from cddfuse_jax.config import release
from cddfuse_jax.convert import main as convert
from cddfuse_jax.errors import InputError
from cddfuse_jax.export.__main__ import main as export
from cddfuse_jax.fusing.network_check import check_gradient
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.training.recipe import make_model

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


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """What training leaves, with random params."""
    config = release()
    config.model.update(OWN)
    params = starting_params(make_model(config))
    workdir = tmp_path_factory.mktemp("own") / "run"
    return write_checkpoint(workdir, params, {"config": config.to_dict()})


def test_it_is_exported_or_refused_in_a_line(run, tmp_path, capsys):
    out = ["--weights", run, "--out", tmp_path / "m"]
    assert ends(export, *out, "--platforms", "cpu") == 0
    capsys.readouterr()
    assert ends(export, *out, "--format", "onnx", "--overwrite") == 2
    assert ends(convert, run, tmp_path / "m.pth") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all("the release's network" in line for line in lines)


def test_commands_find_the_module_in_the_current_folder(run, tmp_path, module_of_ones_own):
    rng = np.random.default_rng(0)
    for side in ("vi", "ir"):
        pixels = rng.integers(0, 256, (25, 31), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{side}.png")
    done = subprocess.run(
        [sys.executable, "-m", "cddfuse_jax.fuse", "--weights", run, "--vi", tmp_path / "vi.png",
         "--ir", tmp_path / "ir.png", "--out", tmp_path / "fused.png"],
        cwd=module_of_ones_own, capture_output=True, text=True, timeout=HANG_SECONDS,
        env=environment(1),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "fused.png").size == (31, 25)
