"""A run tells how fast it is; which updates may be traced."""

from types import SimpleNamespace

import jax.numpy as jnp
import pytest
from programs import ends
from scalars import read_scalars

from cddfuse_jax import train
from cddfuse_jax.training import log as log_module
from cddfuse_jax.training.log import TrainLog


def test_speed_is_per_step_and_chip(tmp_path, monkeypatch):
    clock = iter([0.0, 8.0, 8.0])  # made, written, started again
    monkeypatch.setattr(log_module, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    run = {"epoch": 10, "total": 10, "start": 4, "every": 2, "pairs": 16, "devices": 4}
    with TrainLog(tmp_path, **run) as log:
        for step in (5, 6):
            log.update(step, "fusion", {"total": jnp.float32(1)}, waited=0.5 * step)
        log.flush()
    scalars = {tag: values[6] for tag, values in read_scalars(tmp_path).items()}
    assert scalars["pairs_per_second"] == 4  # 32 pairs in 8 s
    assert scalars["speed/pairs_per_second_and_chip"] == 1
    assert scalars["speed/step_seconds"] == 4
    assert scalars["speed/input_wait_seconds"] == 2.75


@pytest.mark.parametrize("steps", ["5", "5:4", "0:2", "a:b"])
def test_updates_that_are_none_are_refused_in_a_line(steps, tmp_path, capsys):
    words = ["--config=ivf", f"--workdir={tmp_path}", f"--profile_steps={steps}"]
    assert ends(train.main, *words) == 2
    assert f"such as 10:15, got '{steps}'" in capsys.readouterr().err
