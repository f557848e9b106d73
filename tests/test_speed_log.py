"""A run tells how fast it is, and traces the updates that it is asked for."""

import gzip
import json
import sys
import time
from types import SimpleNamespace

import jax.numpy as jnp
import pytest

from cddfuse_jax import console, train
from cddfuse_jax.training import log as log_module
from cddfuse_jax.training.log import TrainLog
from cddfuse_jax.training.run import train_and_evaluate
from cddfuse_jax.training.scalars import read_scalars


def test_speed_is_per_step_and_chip(tmp_path, monkeypatch):
    clock = iter([0.0, 8.0, 8.0])  # made, written, started again
    monkeypatch.setattr(log_module, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    chips = {"chips": 4, "flops_per_pixel": {"fusion": 100.0}, "peak": 1000.0}
    with TrainLog(tmp_path, 10, 10, 4, every=2, **chips) as log:
        for step in (5, 6):
            log.update(step, "fusion", {"total": jnp.float32(1)}, 16, 25, waited=0.5 * step)
        log.flush()
    scalars = {tag: values[6] for tag, values in read_scalars(tmp_path).items()}
    assert scalars["pairs_per_second"] == 4  # 32 pairs in 8 s
    assert scalars["speed/pairs_per_second_and_chip"] == 1
    assert scalars["speed/step_seconds"] == 4
    assert scalars["speed/input_wait_seconds"] == 2.75
    # 800 pixels of 100 flops in 8 s, of 4000 flops that each second has.
    assert scalars["speed/model_flops_utilisation"] == pytest.approx(800 * 100 / 8 / 4000)


def test_utilisation_is_left_out_where_the_peak_is_not_known(tmp_path):
    with TrainLog(tmp_path, 10, 10, 0, every=1) as log:
        log.update(1, "fusion", {"total": jnp.float32(1)}, 16, 25)
        time.sleep(0.01)
        log.flush()
    assert "speed/model_flops_utilisation" not in read_scalars(tmp_path)


def test_a_trace_of_the_updates_asked_for_opens_in_perfetto(tiny_config, tmp_path, capsys):
    train_and_evaluate(tiny_config, tmp_path, lambda step: step == 3, profile_steps=(2, 3))
    assert "trace of updates 2 to 3" in capsys.readouterr().err
    (file,) = (tmp_path / "profile").glob("plugins/profile/*/perfetto_trace.json.gz")
    events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    assert any("shard_map" in event.get("name", "") or "jit" in event.get("name", "")
               for event in events)  # fmt: skip
    scalars = read_scalars(tmp_path)
    assert 0 <= scalars["speed/input_wait_seconds"][1] < scalars["speed/step_seconds"][1]


@pytest.mark.parametrize("steps", ["5", "5:4", "0:2", "a:b"])
def test_updates_that_are_none_are_refused_in_a_line(steps, tmp_path, monkeypatch, capsys):
    arguments = ["train", "--config=ivf", f"--workdir={tmp_path}", f"--profile_steps={steps}"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as end:
        console.run(train.main)
    assert end.value.code == 2
    assert f"such as 10:15, got '{steps}'" in capsys.readouterr().err
