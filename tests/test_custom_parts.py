"""Custom parts: in batches, common shapes and strips they give the whole image, or one line."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import parts
import pytest
from agreement import assert_agrees
from numerics import starting_params

from cddfuse_jax import Fuser
from cddfuse_jax.errors import InputError
from cddfuse_jax.fusing import memory, network_check
from cddfuse_jax.fusing.buckets import fuse_in_bucket
from cddfuse_jax.fusing.network_check import (
    TESTED_CODE,
    check_network,
    code_digest,
    why_only_whole,
)
from cddfuse_jax.fusing.strips import fuse_in_strips
from cddfuse_jax.fusing.whole import make_fuse
from cddfuse_jax.models.branches import check_parts
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.models.derivatives import implementations_for

SIZES = {"features": 8, "heads": 2, "blocks": 1, "coupling_layers": 1}
PLAIN = SIZES | dict.fromkeys(("block", "base", "detail"), "parts:Pointwise")


def trained(model, seed=3):
    """Params of which none is what it was at the start."""
    rng = np.random.default_rng(seed)

    def moved(leaf):
        return np.float32(leaf + 0.2 * rng.standard_normal(leaf.shape))

    return jax.tree.map(moved, starting_params(model))


def draw_pair(height, width, count=()):
    return np.random.default_rng(1).random((2, *count, height, width), np.float32)


def test_the_code_of_the_network_is_the_tested_one():
    assert code_digest() == TESTED_CODE, (
        "cddfuse_jax/models has changed: run tests/test_streaming.py, tests/test_buckets.py and "
        f'tests/test_golden.py; if they pass, set TESTED_CODE = "{code_digest()}" in '
        "cddfuse_jax/fusing/network_check.py"
    )


def test_other_code_is_checked_before_it_is_fused_in_parts(tiny_params, monkeypatch, capsys):
    model = CDDFuse.from_params(tiny_params)
    assert why_only_whole(model, tiny_params) == "" and capsys.readouterr().err == ""

    def changed(self, visible, infrared):
        base = self.base_fusion(visible[0], infrared[0])
        return jnp.tanh(base), self.detail_fusion(visible[1], infrared[1])

    monkeypatch.setattr(CDDFuse, "fuse_features", changed)
    monkeypatch.setattr(network_check, "TESTED_CODE", "another")
    reason = why_only_whole(model, tiny_params)
    assert "test_custom_parts.py does more than add features" in reason
    assert "return jnp.tanh(base)" in reason
    printed = capsys.readouterr().err
    assert "checking whether" in printed and "note: every image is fused whole, one" in printed
    why_only_whole(model, tiny_params)
    assert capsys.readouterr().err == ""  # once


@pytest.mark.parametrize(
    ("part", "way"),
    [({"block": "parts:SqueezeExcite"}, "inside a larger array"),
     ({"base": "parts:Above"}, "in strips"),
     ({"detail": "parts:Far"}, "inside a larger array")],
    ids=str,
)  # fmt: skip
def test_what_is_not_alike_in_parts_is_found(part, way):
    with pytest.raises(InputError, match=f"another image {way} than alone"):
        check_network(CDDFuse(**PLAIN | part))  # though it starts as the identity


def test_what_is_not_alike_in_parts_is_fused_whole(monkeypatch, capsys):
    model = CDDFuse(**PLAIN | {"detail": "parts:Mixing"})
    params, batch = trained(model), draw_pair(25, 30, (3,))
    fuse = make_fuse(model, params)
    alone = np.stack([fuse(*pair) for pair in zip(*batch, strict=True)])
    np.testing.assert_array_equal(fuse(*batch), alone)  # the same program
    np.testing.assert_array_equal(fuse(*batch[:, 0], (32, 32)), alone[0])
    fuser = Fuser(params, model=model)
    fuser.expect([(25, 31), (26, 31)] * 9)
    assert not fuser._buckets
    note = "note: every image is fused whole, one at a time: this network gives another image in a "
    assert capsys.readouterr().err.count(f"{note}batch than alone") == 1
    monkeypatch.setattr(memory, "PROGRAM_BYTES", 0)
    limit = int((memory.KEPT_ARRAYS * 25 + memory.STRIP_ARRAYS * 8) * 8 * 4 * 30)
    with pytest.raises(InputError, match="does not fit in memory as a whole, and this network"):
        Fuser(params, model=model, max_memory=limit)(*batch[:, 0])


def test_the_answer_is_kept_with_the_run(tmp_path, monkeypatch, capsys):
    file, code = tmp_path / "careful.py", Path(parts.__file__).read_text()
    file.write_text(code)
    model = CDDFuse(**PLAIN | {"block": f"{file}:Careful"})
    params = trained(model)
    assert why_only_whole(model, params, tmp_path) == ""
    assert list(json.loads((tmp_path / network_check.RECORD).read_text()).values()) == [""]
    assert "checking whether" in capsys.readouterr().err

    def again(params):
        monkeypatch.setattr(network_check, "_found", {})
        why_only_whole(model, params, tmp_path)
        return "checking whether" in capsys.readouterr().err

    monkeypatch.setattr(network_check, "check_network", lambda *_: None)
    assert not again(params)
    assert again(trained(model, 4))
    file.write_text(code + "# changed")
    assert again(params)
    file.write_text(code)
    (tmp_path / network_check.RECORD).write_text("no JSON")
    assert again(params)


def test_what_cannot_be_a_part_is_one_line():
    with pytest.raises(InputError, match=r"parts:Sized: gets features, .* need defaults .*window"):
        check_parts(CDDFuse(**SIZES, base="parts:Sized"))
    with pytest.raises(InputError, match=r"is a flax\.linen\.Module or a function, got 'os:sep'"):
        check_parts(CDDFuse(**SIZES, base="os:sep"))


@pytest.mark.parametrize(
    ("merge", "sizes"),
    [("parts:maximum", PLAIN), ("parts:larger", PLAIN), ("parts:Learned", PLAIN),
     pytest.param("parts:Learned", SIZES, marks=pytest.mark.long)],
)  # fmt: skip
def test_a_custom_fusion_rule_holds_everywhere(merge, sizes):
    model = CDDFuse(**sizes, merge=merge)
    params, pair = trained(model), draw_pair(11, 9)
    assert ("merge" in params["base_fusion"]) == (merge == "parts:Learned")
    images = pair[:, None, :, :, None]
    variables, summed = {"params": params}, CDDFuse(**sizes)

    def rule(params, layer, features):
        if merge != "parts:Learned":
            return jnp.maximum(features[:1], features[1:])
        from parts import Learned

        gate = {"params": params[layer]["merge"]}
        return Learned().apply(gate, features[:1], features[1:])

    def formula(params, visible, infrared):
        """The sum's network, of what is merged already and zeros."""
        both = jnp.stack([visible, infrared])[..., None]
        base, detail, _ = summed.apply({"params": params}, both, method="encode")
        merged = rule(params, "base_fusion", base), rule(params, "detail_fusion", detail)
        zeros = jax.tree.map(jnp.zeros_like, merged)
        fused = summed.apply({"params": params}, merged, zeros, method="fuse_features")
        return summed.apply({"params": params}, *fused, both[:1], method="decode")[0, ..., 0]

    with_features = functools.partial(model.apply, method="fuse_with_features")
    found = {
        "cpu": jax.jit(model.apply)(variables, *images)[0, ..., 0],
        "features": jax.jit(with_features)(variables, *images).image[0, ..., 0],
        "bucket": fuse_in_bucket(model, variables, *pair, "visible", (16, 16)),
        "strips": fuse_in_strips(model, variables, *pair, "visible", 4),
    }
    with implementations_for("gpu"):
        found["gpu"] = jax.jit(lambda *x: model.apply(variables, *x))(*images)[0, ..., 0]
    for image in found.values():
        assert_agrees(image, formula, params, *pair)
    assert abs(jax.jit(summed.apply)(variables, *images)[0, ..., 0] - found["cpu"]).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "message"),
    [("Halving", r"returns float32 of shape \(1, 8, 12, 8\)"), ("Two", "returns a tuple"),
     ("Doubling", r"returns float32 of shape \(1, 16, 24, 16\)"), ("Narrow", "returns bfloat16"),
     ("Batch", "keeps batch_stats"), ("Drop", "PRNG"), ("Mode", "missing 1 required"),
     ("Leaves", "fails with SystemExit")],
)  # fmt: skip
def test_what_a_part_must_return_is_one_line(name, message):
    for part in ("block", "base", "detail"):
        model = CDDFuse(**SIZES, **{part: f"parts:{name}"})
        with pytest.raises(InputError, match=rf"config.model.{part}=parts:{name} must.*{message}"):
            check_parts(model)
        with pytest.raises(InputError, match=message):
            make_fuse(model, {})
