"""Weights of other programs: wrapped ones are read, other networks are refused soon."""

import json
import shutil
import time

import numpy as np
import orbax.checkpoint as ocp
import pytest
from pth_writer import Storage, Tensor, write_pth

from cddfuse_jax.errors import InputError
from cddfuse_jax.weights import torch_weights
from cddfuse_jax.weights.any_format import load, load_params


@pytest.fixture
def file(tmp_path):
    return tmp_path / "w.pth"


def refusal(weights) -> str:
    started = time.perf_counter()
    with pytest.raises(InputError) as error:
        load_params(weights)
    assert time.perf_counter() - started < 10
    line = str(error.value)
    assert "\n" not in line and len(line) < 3000
    return line


def test_long_lists_of_names_are_shortened(file):
    write_pth(file, {"DIDF_Encoder": {f"k{n}" * 40: np.zeros(1, "f4") for n in range(500)}})
    assert " more; 500 extra: DIDF_Encoder k0" in refusal(file)


def test_tensors_that_share_a_storage_are_not_multiplied(file, tiny_params):
    states = torch_weights.state_dicts(tiny_params)
    shared = Storage(np.zeros(20_000, np.float32))
    whole = Tensor(shared, 0, (20_000,), (1,))
    states = {name: dict.fromkeys(state, whole) for name, state in states.items()}
    assert "together larger than what is stored" in refusal(write_pth(file, states))


@pytest.mark.parametrize("shape", [(2**40, 1, 3, 0), (10_000, 1, 3, 3), (0, 0, 3, 3)])
def test_enormous_feature_counts(file, shape):
    empty = Tensor(Storage(np.zeros(90_000, np.float32)), 0, shape, (1, 1, 1, 1))
    assert "not CDDFuse weights" in refusal(
        write_pth(file, {"DIDF_Encoder": {"patch_embed.proj.weight": empty}})
    )


def test_checkpoints_of_another_network_or_with_a_broken_meta(tmp_path, written_run):
    with ocp.CheckpointManager(tmp_path / "other" / "checkpoints") as manager:
        params = ocp.args.StandardSave({"w": np.ones(3)})
        manager.save(0, args=ocp.args.Composite(params=params, meta=ocp.args.JsonSave({})))
    line = refusal(tmp_path / "other")
    assert "these are of another network (KeyError('encoder')); one with custom parts needs" in line
    shutil.copytree(written_run, tmp_path / "mine")
    (meta,) = (tmp_path / "mine/checkpoints/0").rglob("meta/metadata")
    for text in ("", "[1, 2]", '{"config": 3}', "{", "\x00", json.dumps("a")):
        meta.write_text(text)
        with pytest.raises(InputError) as error:
            load(tmp_path / "mine")
        assert "broken checkpoint" in str(error.value) and "\n" not in str(error.value)
