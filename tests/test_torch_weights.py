import functools
from collections import OrderedDict

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from pth_writer import write_pth
from stored import refusal

from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.weights import torch_names, torch_weights
from cddfuse_jax.weights.safetensors_file import read_safetensors

SMALL = CDDFuse(features=8, heads=2, blocks=2, channels=3, coupling_layers=1)
RELEASE = list(torch_names.name_table(CDDFuse()))
load_error = functools.partial(refusal, torch_weights.load)


def assert_equal(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert a.dtype == b.dtype == np.float32
        np.testing.assert_array_equal(a, b)


def small_states(prefix="", model=SMALL):
    """State dicts of a small network, every number different from every other."""
    states, count = {}, 0
    for entry in torch_names.name_table(model):
        size = int(np.prod(entry.shape))
        array = np.arange(count, count + size, dtype=np.float32).reshape(entry.shape)
        states.setdefault(entry.torch_module, OrderedDict())[prefix + entry.torch_key] = array
        count += size
    return states


def test_the_table_is_that_of_the_golden_checkpoint(golden):
    lines = (golden / "state_dict.tsv").read_text().splitlines()[1:]
    table = {tuple(line.split("\t")) for line in lines}
    assert table == {
        (entry.torch_module, f"module.{entry.torch_key}", "x".join(map(str, entry.shape)))
        for entry in RELEASE
    }


def test_the_drawn_checkpoint_is_the_golden_one(golden, release_params, release_pth):
    loaded = torch_weights.load(golden / "CDDFuse_random.pth")
    assert_equal(loaded, release_params)
    assert_equal(loaded, torch_weights.load(release_pth))


def test_each_number_finds_its_place(tmp_path):
    states = small_states()
    params = torch_weights.load(write_pth(tmp_path / "small.pth", states))
    grouped = states["DIDF_Encoder"]["baseFeature.mlp.dwconv.weight"]  # (out, in, y, x)
    assert params["encoder"]["base"]["mlp"]["dwconv"][2, 0, 1, 7] == grouped[7, 1, 2, 0]
    pointwise = states["DIDF_Decoder"]["reduce_channel.weight"]
    assert params["decoder"]["reduce_channel"][9, 3] == pointwise[3, 9, 0, 0]
    scale = states["BaseFuseLayer"]["attn.scale"]
    assert params["base_fusion"]["attn"]["scale"][1] == scale[1, 0, 0]
    bias = states["DetailFuseLayer"]["net.0.shffleconv.bias"]
    assert params["detail_fusion"]["0"]["shuffle_bias"][5] == bias[5]


@pytest.mark.parametrize(
    "model",
    [SMALL, CDDFuse(features=6, heads=1, blocks=1, coupling_layers=4)],
    ids=["small", "deep detail"],
)
def test_other_sizes_make_the_round_trip(tmp_path, model):
    states = small_states("module.", model)
    params = torch_weights.load(write_pth(tmp_path / "first.pth", states))
    assert CDDFuse.from_params(params) == model
    again = torch_weights.state_dicts(params)
    for module, tensors in states.items():
        assert again[module].keys() == tensors.keys()
        for key, array in tensors.items():
            np.testing.assert_array_equal(again[module][key], array)
    assert_equal(torch_weights.load(write_pth(tmp_path / "second.pth", again)), params)


def test_bfloat16_storages_are_read_bit_by_bit(tmp_path):
    states = small_states()
    values = np.float32([1, -2.5, 0, 3e38, 1e-37, 0.33203125, -0.0, 7])  # all of 8 bits
    states["BaseFuseLayer"]["norm1.body.weight"] = (values.view("u4") >> 16).astype("u2")
    for order in "<>":
        params = torch_weights.load(write_pth(tmp_path / "w.pth", states, order=order))
        loaded = params["base_fusion"]["norm1"]["weight"]
        np.testing.assert_allclose(loaded, values, rtol=2**-8)
        assert loaded[:3].tolist() == [1, -2.5, 0] and loaded[5] == 0.33203125
    bits = {"DIDF_Encoder.a": values.astype(ml_dtypes.bfloat16)}
    safetensors.numpy.save_file(bits, tmp_path / "w.safetensors")
    states, _ = read_safetensors(tmp_path / "w.safetensors")
    expected = values.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(states["DIDF_Encoder"]["a"].array(), expected)


@pytest.mark.parametrize(
    "named",
    ["_orig_mod.{}", "module.module.{}", "model.{}", "module._orig_mod.{}", "{}"],
)
def test_prefixes_of_wrappers_are_taken_off(tmp_path, named):
    """Around all, around each module, and within it."""
    plain = small_states()
    expected = torch_weights.load(write_pth(tmp_path / "plain.pth", plain))
    flat = {f"{module}.{key}": x for module, state in plain.items() for key, x in state.items()}
    inner = {
        module: {key.replace("net.", "net._orig_mod."): x for key, x in state.items()}
        for module, state in plain.items()
    }
    for content in (
        OrderedDict({named.format(key): x for key, x in flat.items()}),
        *(
            {"epoch": 1, "note": "x", "optimizer": {"state": {}}, wrapper: states}
            for wrapper in ("state_dict", "model", "model_state_dict")
            for states in (plain, {named.format(key): x for key, x in flat.items()})
        ),
        {name: {named.format(key): x for key, x in state.items()} for name, state in plain.items()},
        {named.format(name): OrderedDict(state) for name, state in plain.items()},
        inner,
    ):
        assert_equal(torch_weights.load(write_pth(tmp_path / "w.pth", content)), expected)


def test_missing_extra_and_misshapen_tensors_are_listed(tmp_path):
    states = small_states("module.")
    del states["DIDF_Decoder"]["module.output.2.weight"]
    del states["BaseFuseLayer"]["module.attn.proj.weight"]
    states["DIDF_Encoder"]["module.head.weight"] = np.zeros(3, np.float32)
    states["DIDF_Encoder"]["module.encoder_level1.1.norm1.body.bias"] = np.zeros(7, np.float32)
    assert load_error(write_pth(tmp_path / "w.pth", states)) == (
        "not CDDFuse weights; "
        "2 missing: BaseFuseLayer attn.proj.weight, DIDF_Decoder output.2.weight; "
        "1 extra: DIDF_Encoder head.weight; "
        "1 misshapen: DIDF_Encoder encoder_level1.1.norm1.body.bias 7 (expected 8)"
    )


@pytest.mark.parametrize("shape", [(0, 1, 3, 3), (8, 0, 3, 3), (8,), ()])
def test_sizes_of_nothing_are_misshapen(tmp_path, shape):
    states = small_states()
    states["DIDF_Encoder"]["patch_embed.proj.weight"] = np.zeros(shape, np.float32)
    message = load_error(write_pth(tmp_path / "w.pth", states))
    size = "x".join(map(str, shape)) or "scalar"
    assert f"DIDF_Encoder patch_embed.proj.weight {size} (expected" in message


def test_a_tensor_given_twice_is_refused(tmp_path):
    states = small_states()
    states["DIDF_Encoder"]["module.patch_embed.proj.weight"] = np.zeros(1, np.float32)
    message = load_error(write_pth(tmp_path / "w.pth", states))
    assert (
        message == "DIDF_Encoder patch_embed.proj.weight is there twice, with and without 'module.'"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"patch_embed": np.zeros(1)}, "found patch_embed of type StoredTensor"),
        ({"epoch": 3}, "found epoch of type int"),
        ({5: {}}, "found a key of type int of type dict"),
        ({"DIDF_Encoder": {"a": 1}}, "DIDF_Encoder a is no tensor"),
        (
            {"DIDF_Encoder": {("a",): np.zeros(1)}},
            "refused, a key is a tuple, those of state dicts are strings",
        ),
        ({"DIDF_Encoder": {"a\n\x1b[2J": 1}}, r"DIDF_Encoder a\n\x1b[2J is no tensor"),
        ({}, "not CDDFuse weights; 158 missing: BaseFuseLayer attn.proj.weight, "),
    ],
)
def test_a_file_of_something_else(tmp_path, content, message):
    assert message in load_error(write_pth(tmp_path / "w.pth", content))
