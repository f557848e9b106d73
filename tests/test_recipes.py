"""The recipes of the docs run as they are printed, on a tiny network, and do what they say."""

import re

import jax
import numpy as np
import pytest
from agreement import assert_agrees, assert_fused
from programs import REPOSITORY

from cddfuse_jax import Fuser
from cddfuse_jax.training.own_loss import own_loss

PAGE = (REPOSITORY / "docs" / "recipes.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^## (.+?)\n|^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def ran(tiny_weights, tmp_path_factory):
    """What all blocks define, run in their order in one program; the folder that they wrote to."""
    folder = tmp_path_factory.mktemp("recipes")
    images = np.random.default_rng(0).random((2, 2, 16, 20, 1), np.float32)
    names = {"visible": images[0], "infrared": images[1], "__name__": "recipes"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for _, block in BLOCKS:
            exec(block.replace('"small"', repr(str(tiny_weights))), names)
    return names, folder


def leaves(tree):
    return {jax.tree_util.keystr(path): np.asarray(leaf)
            for path, leaf in jax.tree.leaves_with_path(tree)}  # fmt: skip


def moved(before, after) -> set[str]:
    first, last = leaves(before), leaves(after)
    assert first.keys() == last.keys()
    return {name for name in first if (first[name] != last[name]).any()}


def test_features_are_in_the_file(ran, tiny_params):
    names, folder = ran
    with np.load(folder / "features.npz") as file:
        assert {name: file[name].shape for name in file} == dict.fromkeys(
            ("base", "detail", "shallow"), (2, 16, 20, 8)
        )
        apply = names["model"].apply

        def detail(params, image):
            return apply({"params": params}, image, method="encode")[1]

        assert_agrees(file["detail"], detail, tiny_params, names["visible"])


def test_the_gradient_by_an_input_is_that_of_finite_differences(ran):
    names, _ = ran
    direction, step = np.sign(names["saliency"]), 1e-3  # where the slope is steepest
    ahead, behind = (
        float(names["brightness"](names["infrared"] + sign * step * direction)) for sign in (1, -1)
    )
    slope = (ahead - behind) / (2 * step)
    assert float((names["saliency"] * direction).sum()) == pytest.approx(slope, rel=0.02)


def test_joint_training_moves_all_and_a_frozen_encoder_stays(ran):
    names, _ = ran
    before = names["both"]
    all_names = set(leaves(before))
    assert len(moved(before, names["trained"])) > 0.9 * len(all_names)
    assert float(names["loss"](names["trained"])) < float(names["loss"](before))
    still = {name for name in all_names if "'encoder'" in name}
    found = moved(before, names["frozen"])
    assert still and found.isdisjoint(still) and len(found) > 0.9 * (len(all_names) - len(still))


def test_nnx_trains_the_same_params_and_gives_them_back(ran, tiny_params):
    names, _ = ran
    assert len(moved(tiny_params, names["tuned"])) > 0.9 * len(leaves(tiny_params))
    pair = names["visible"][0, ..., 0], names["infrared"][0, ..., 0]
    fused = names["joint"].fuser(names["visible"][:1], names["infrared"][:1])[0, ..., 0]
    for image in (Fuser(names["tuned"]).luma(*pair), fused):
        assert_fused(image, names["model"], names["tuned"], *pair)


def test_the_custom_loss_is_one(ran):
    names, folder = ran
    block = next(block for _, block in BLOCKS if "def terms" in block)
    (folder / "terms.py").write_text(block)
    images = names["visible"], names["infrared"]
    fusion = names["model"].apply(
        {"params": names["params"]}, *images, "visible", method="fuse_with_features"
    )
    total, parts = own_loss(f"{folder}/terms.py:terms", "base_apart=2")(*images, fusion)
    assert parts.keys() == {"lost_edges", "base_apart"} and 0 <= float(parts["base_apart"]) <= 2
    wanted = float(parts["lost_edges"]) + 2 * float(parts["base_apart"])
    assert float(total) == pytest.approx(wanted, rel=1e-6)
