"""What a compiled program does is added up right; plans are made for TPUs that are not there."""

import importlib.util
import json
import subprocess
import sys

import jax
import pytest

from cddfuse_jax import plan as plan_command
from cddfuse_jax.errors import InputError
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.training import hlo, planned
from cddfuse_jax.training.update import init_params

pytestmark = pytest.mark.slow

# A loop of 4 turns, each of which reads a slice of a stack and sends 32 bytes; then a copy.
PROGRAM = """HloModule hand_written

%slice_and_double (p.0: f32[4,8], p.1: s32[]) -> f32[8] {
  %p.0 = f32[4,8]{1,0:T(4,128)} parameter(0)
  %p.1 = s32[]{:T(128)} parameter(1)
  %s = f32[1,8]{1,0:T(1,128)} dynamic-slice(%p.0, %p.1, %p.1), dynamic_slice_sizes={1,8}
  %r = f32[8]{0:T(128)} bitcast(%s)
  ROOT %d = f32[8]{0:T(128)} add(%r, %r)
}

%body (t: (s32[], f32[4,8], f32[8])) -> (s32[], f32[4,8], f32[8]) {
  %t = (s32[]{:T(128)S(6)}, f32[4,8]{1,0:T(4,128)}, /*index=2*/f32[8]{0:T(128)}) parameter(0)
  %i = s32[]{:T(128)S(6)} get-tuple-element(%t), index=0
  %stack = f32[4,8]{1,0:T(4,128)} get-tuple-element(%t), index=1
  %new = f32[8]{0:T(128)} fusion(%stack, %i), kind=kLoop, calls=%slice_and_double, \
backend_config={"window_config":{"estimated_cycles":"100"}}
  %sum = f32[8]{0:T(128)S(1)} all-reduce(%new), channel_id=1, to_apply=%add
  ROOT %n = (s32[]{:T(128)S(6)}, f32[4,8]{1,0:T(4,128)}, f32[8]{0:T(128)}) tuple(%i, %stack, %new)
}

%condition (t: (s32[], f32[4,8], f32[8])) -> pred[] {
  %limit = s32[]{:T(128)} constant(4)
  %t = (s32[]{:T(128)S(6)}, f32[4,8]{1,0:T(4,128)}, f32[8]{0:T(128)}) parameter(0)
  %i = s32[]{:T(128)S(6)} get-tuple-element(%t), index=0
  ROOT %less = pred[]{:T(512)} compare(%i, %limit), direction=LT
}

ENTRY %main (a: (s32[], f32[4,8], f32[8])) -> f32[16,128] {
  %a = (s32[]{:T(128)S(6)}, f32[4,8]{1,0:T(4,128)}, f32[8]{0:T(128)}) parameter(0)
  %loop = (s32[]{:T(128)S(6)}, f32[4,8]{1,0:T(4,128)}, f32[8]{0:T(128)}) while(%a), \
condition=%condition, body=%body
  %x = bf16[16,64]{1,0:T(8,128)(2,1)} constant({...})
  ROOT %copy.1 = bf16[16,64]{0,1:T(8,128)(2,1)} copy(%x), \
backend_config={"window_config":{"estimated_cycles":"7"}}
}
"""

FIGURES = {
    "memory": {"arguments": 0, "temporary": 0, "code": 0}, "collectives": [], "bytes_moved": 0,
    "compiling_seconds": 0,
}  # fmt: skip


def test_a_program_is_added_up_with_its_loops():
    totals = hlo.totals(PROGRAM)
    assert totals.collectives == [("all-reduce", 32)] * 4
    assert totals.cycles == 4 * 100 + 7
    # In the loop: a slice of 8, which fills a tile of 128, is read and 128 are written; the
    # all-reduce reads 128 and writes elsewhere. The copy reads 16x128 of which 64 are padding, and
    # writes 64x128 of which 112 are.
    assert totals.bytes == 4 * 4 * 128 * 3 + 2 * (16 * 128 + 64 * 128)


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
        planned.topology("v5e:2x2")


def test_of_all_pieces_that_fit_the_fastest_is_named(monkeypatch, capsys):
    cycles = {2: 3e6, 4: 2e6, 8: 5e6}

    def compiled(config, *others):
        if config.piece not in cycles:
            raise planned.OutOfMemoryError("too large")
        return FIGURES | {"compilers_cycles": cycles[config.piece]}

    monkeypatch.setattr(planned, "topology", lambda name: [None])
    monkeypatch.setattr(planned, "training_update", compiled)
    monkeypatch.setattr(sys, "argv", ["plan", "--config=ivf", "--topology=v5e:1x1", "--pieces"])
    plan_command.main()
    printed = capsys.readouterr()
    assert "128x128 in pieces of 4, float32" in printed.out and "2 million cycles" in printed.out
    assert "config.piece=0: too large" in printed.err
    cycles.clear()
    with pytest.raises(InputError, match=r"with no config.piece does this update fit"):
        plan_command.main()


needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="needs TPU's compiler: the extra [plan]"
)


@needs_libtpu
def test_a_topology_that_there_is_not_is_refused_in_a_line():
    done = plan("--topology=v5e:3x3")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --topology is a chip and the slice's sides")
    assert done.stderr.count("\n") == 1


@needs_libtpu
def test_a_small_update_is_planned_for_four_chips(tmp_path):
    file = tmp_path / "plan.json"
    done = plan("--topology=v5e:2x2", "--per_chip_batch=1", "--config.data.crop=16",
                "--config.precision=bf16", "--json", str(file))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 pairs a chip, v5e:2x2" in done.stdout
    found = json.loads(file.read_text())
    parameters = sum(
        leaf.size
        for leaf in jax.tree.leaves(
            jax.eval_shape(
                lambda: init_params(
                    CDDFuse(features=8, heads=2, blocks=1, coupling_layers=1), jax.random.key(0)
                )
            )
        )
    )
    # Two correlations, then the gradient with the loss and its parts: whatever the chips.
    assert found["collectives"] == [["all-reduce", 8], ["all-reduce", 4 * (parameters + 7)]]
    assert found["bytes_moved"] > 0 and found["compilers_cycles"] > 0
