"""What a compiled program does is added up right; plans are made for TPUs that are not there."""

import importlib.util
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cddfuse_jax.models.arithmetic import multiply_adds, update_flops
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.planning import arithmetic, hlo
from cddfuse_jax.planning.prediction import largest_batch, scaling, times
from cddfuse_jax.planning.programs import Program
from cddfuse_jax.runtime.chips import CHIPS, chip_of
from cddfuse_jax.training.update import init_params

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


def test_a_program_is_added_up_with_its_loops():
    totals = hlo.totals(PROGRAM)
    assert totals.collectives == [("all-reduce", 32)] * 4
    assert hlo.collectives(PROGRAM) == [("all-reduce", 32)]
    assert totals.cycles == 4 * 100 + 7
    # In the loop: a slice of 8, which fills a tile of 128, is read and 128 are written; the
    # all-reduce reads 128 and writes elsewhere. The copy reads 16x128 of which 64 are padding, and
    # writes 64x128 of which 112 are.
    copied = 2 * (16 * 128 + 64 * 128)
    assert totals.bytes == 4 * 4 * 128 * 3 + copied
    assert totals.padding == 4 * 4 * 120 * 3 + copied - 2 * 2 * 16 * 64
    assert totals.relayout == copied


def test_the_network_takes_1_1_million_multiply_adds_per_pixel():
    model = CDDFuse()
    assert multiply_adds(model).fuse == 1_090_272
    assert multiply_adds(model, in_products=True).fuse == 1_101_216
    assert update_flops(model, "fusion", 10) == 6 * 1_090_272 * 10
    assert update_flops(model, "reconstruction", 1) == 6 * multiply_adds(model).reconstruct_both


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_what_is_traced_is_what_the_formula_counts(platform):
    model = CDDFuse()
    params = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    image = jax.ShapeDtypeStruct((1, 256, 256, 1), jnp.float32)

    def fuse(params, visible, infrared):
        return model.apply({"params": params}, visible, infrared, method="fuse")

    counted = arithmetic.flops(fuse, params, image, image, platform=platform)
    # Beyond the formula: borders of a pixel, and kernels multiplied with each other.
    formula = 2 * multiply_adds(model, in_products=True).fuse * 256**2
    assert formula < counted < 1.02 * formula


def test_products_in_loops_count_as_often_as_they_turn():
    def function(x, kernel):
        x = jax.lax.scan(lambda x, _: (x @ x, None), x, None, length=5)[0]
        return jax.lax.conv_general_dilated(
            x[None, :, :, None], kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((8, 8), (3, 3, 1, 2))]
    assert arithmetic.flops(function, *shapes) == 2 * (5 * 8**3 + 9 * 8 * 8 * 2)


def test_times_follow_published_figures():
    chip = chip_of("TPU v5 lite")
    totals = hlo.Totals(819e9, 0, 0, chip.clock / 2, [("all-reduce", 8), ("all-reduce", 4_000_000)])
    memory = {"arguments": 0, "outputs": 0, "temporary": int(chip.memory / 4), "code": 0}
    program = Program(32, memory, 197e12 / 10, 2 * 197e12, totals, {}, 0.0, 0.0)
    alone, many = times(program, chip, 1), times(program, chip, 16)
    assert (alone.compute, alone.memory, alone.compiler, alone.interconnect) == (2, 1, 0.5, 0)
    assert alone.bound_by == "compute" and alone.step == 2
    # 15/16 of twice 4 MB at 200 GB/s, and two reductions over 2 x 2 x 3 hops of a microsecond.
    np.testing.assert_allclose(many.interconnect, 2 * 4_000_008 * 15 / 16 / 200e9 + 24e-6)
    row = scaling(program, chip, [16])[0]
    np.testing.assert_allclose(row["pairs_per_second"], 16 * 32 / many.step)
    np.testing.assert_allclose(row["model_flops_utilisation"], 0.1 / many.step)
    assert largest_batch(program, chip) == 128


def test_chips_are_told_apart_by_what_jax_calls_them():
    assert len({chip.kind for chip in CHIPS}) == len(CHIPS) == 4
    assert chip_of("cpu") is None
    # Matrix units of 128x128 at the clock: v5e has 4 of them at 1.5 GHz.
    assert round(chip_of("TPU v5 lite").clock / 1e9, 1) == 1.5


def plan(*arguments) -> subprocess.CompletedProcess:
    small = [f"--config.model.{size}" for size in
             ("features=8", "heads=2", "blocks=1", "coupling_layers=1")]  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "cddfuse_jax.plan", "--config=ivf", *arguments, *small],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip


def test_without_the_compiler_it_says_what_to_install(monkeypatch):
    from cddfuse_jax.errors import InputError
    from cddfuse_jax.planning import topology

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"libtpu: pip install -e '.\[plan\]'"):
        topology.devices("v5e:2x2")


needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="needs TPU's compiler: the extra [plan]"
)


@needs_libtpu
def test_a_topology_that_there_is_not_is_refused_in_a_line():
    done = plan("--topology=v5e:3x3")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --topology is a chip of v4, v5e, v5p, v6e")
    assert done.stderr.count("\n") == 1


@needs_libtpu
@pytest.mark.slow
def test_a_small_update_is_planned_for_four_chips(tmp_path):
    file = tmp_path / "plan.json"
    done = plan("--topology=v5e:2x2", "--per_chip_batch=1", "--config.data.crop=16",
                "--config.precision=bf16", "--json", str(file))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 pairs a chip, for v5e:2x2" in done.stdout
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
    assert found["collectives"] == [
        {"kind": "all-reduce", "bytes": 8},
        {"kind": "all-reduce", "bytes": 4 * (parameters + 7)},
    ]
    assert [row["chips"] for row in found["scaling"]] == [4, 8, 16, 32, 64, 128, 256]
    assert found["bytes"] > 0 and found["compilers_cycles"] > 0
    assert 0.9 < found["scaling"][-1]["efficiency"] <= 1
