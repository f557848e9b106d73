"""Programs are planned for TPUs that are not there."""

import importlib.util
import re
import subprocess
import sys

import jax
import pytest

from cddfuse_jax import plan as plan_command
from cddfuse_jax.errors import InputError
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.training.update import init_params

pytestmark = pytest.mark.slow


def plan(*arguments) -> subprocess.CompletedProcess:
    small = [f"--config.model.{size}" for size in
             ("features=8", "heads=2", "blocks=1", "coupling_layers=1")]  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "cddfuse_jax.plan", "--config=ivf", *arguments, *small],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip


def test_without_the_compiler_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"libtpu: pip install -e '.\[plan\]'"):
        plan_command.topology("v5e:2x2")


needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="needs TPU's compiler: the extra [plan]"
)


@needs_libtpu
def test_a_topology_that_there_is_not_is_refused_in_a_line():
    done = plan("--topology=v5e:3x3")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: --topology is a chip and the slice's")


@needs_libtpu
def test_a_small_update_is_planned_for_four_chips():
    done = plan("--topology=v5e:2x2", "--per_chip_batch=1", "--config.data.crop=16",
                "--config.precision=bf16")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 pairs a chip, v5e:2x2" in done.stdout
    model = CDDFuse(features=8, heads=2, blocks=1, coupling_layers=1)
    shapes = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    # Two correlations, then the gradient with the loss and its parts: whatever the chips.
    assert f"sent: {8 + 4 * (parameters + 7)} bytes in 2 collectives" in done.stdout
    memory = float(re.search(r"memory: (\S+) GiB", done.stdout)[1])
    assert 0 < memory < 1 and "GB, " in done.stdout
