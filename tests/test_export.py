import subprocess
import sys

import numpy as np
import pytest
from agreement import assert_fused
from programs import HANG_SECONDS, ends

from cddfuse_jax.export import __main__ as export
from cddfuse_jax.export.stablehlo import export_fuse
from cddfuse_jax.models.cddfuse import CDDFuse

pytest.importorskip("flatbuffers", reason="exporting needs the extra [export]")

LOAD = """
import sys
import jax
import numpy as np

fuse = jax.export.deserialize(open(sys.argv[1], "rb").read())
for name in ("small", "odd"):
    pair = np.load(f"{sys.argv[2]}/{name}.npy")
    np.save(f"{sys.argv[2]}/{name}_fused.npy", fuse.call(*pair))
print(*fuse.platforms, *(str(x.shape) for x in fuse.in_avals))
assert not any(name.startswith(("cddfuse_jax", "flax")) for name in sys.modules)
"""


def test_a_fresh_process_loads_it_with_jax_alone_and_fuses_two_sizes(
    tiny_weights, tiny_params, tmp_path, capsys
):
    file = tmp_path / "model.stablehlo"
    assert ends(export.main, "--weights", tiny_weights, "--out", file, "--residual", "sum") == 0
    assert "for cpu, cuda, tpu" in capsys.readouterr().out
    rng = np.random.default_rng(0)
    pairs = {"small": rng.random((2, 2, 8, 9)), "odd": rng.random((2, 1, 23, 17))}
    for name, pair in pairs.items():
        np.save(tmp_path / f"{name}.npy", pair.astype(np.float32))
    # Outside of the project's folder, so that its package cannot be found by chance.
    command = [sys.executable, "-c", LOAD, str(file), str(tmp_path)]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=HANG_SECONDS
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "cpu cuda tpu (n, h, w) (n, h, w)\n"
    model = CDDFuse.from_params(tiny_params)
    for name in pairs:
        visible, infrared = np.load(tmp_path / f"{name}.npy")
        fused = np.load(tmp_path / f"{name}_fused.npy")
        for index in range(len(visible)):
            pair = visible[index], infrared[index]
            assert_fused(fused[index], model, tiny_params, *pair, "sum")


def test_sizes_below_8_are_refused(tiny_params):
    exported = export_fuse(tiny_params, platforms=["cpu"])
    with pytest.raises(ValueError, match="h >= 8"):
        exported.call(np.zeros((1, 7, 9), np.float32), np.zeros((1, 7, 9), np.float32))


def test_bad_usage_is_one_line_and_writes_nothing(tiny_weights, tmp_path, capsys):
    file = tmp_path / "model.stablehlo"
    wrong = ("--weights", tiny_weights, "--out", file, "--platforms", "cpu,abacus")
    assert ends(export.main, *wrong) == 2
    assert "choose from cpu, cuda, rocm, tpu, got 'cpu,abacus'" in capsys.readouterr().err
    assert ends(export.main, "--weights", tmp_path / "none", "--out", file) == 2
    assert not file.exists()
    file.write_bytes(b"precious")
    assert ends(export.main, "--weights", tiny_weights, "--out", file) == 2
    assert "the output exists already" in capsys.readouterr().err
    assert file.read_bytes() == b"precious"
