"""Both stages on a tiny network: what trains when, exact resumption, and runs that go wrong."""

import gzip
import json
import shutil

import jax
import numpy as np
import pytest
from scalars import read_scalars

from cddfuse_jax import fuse
from cddfuse_jax.data.pipeline import batches, make_sources, open_sources
from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.errors import InputError
from cddfuse_jax.images.image_files import write_png
from cddfuse_jax.models.cddfuse import MODULES
from cddfuse_jax.training.checkpoints import Checkpoints
from cddfuse_jax.training.log import NonFiniteError
from cddfuse_jax.training.optimizers import update_count
from cddfuse_jax.training.recipe import make_model, make_stages
from cddfuse_jax.training.run import train_and_evaluate
from cddfuse_jax.weights.any_format import best_of, load_meta, load_params, saved_steps

pytestmark = pytest.mark.slow


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


def test_the_run_writes_what_it_says(tiny_run, tiny_config):
    workdir, state = tiny_run
    assert int(state.step) == 8
    tags = read_scalars(workdir)
    parts = {
        "reconstruction": {
            "total", "ssim_vis", "ssim_ir", "mse_vis", "mse_ir", "gradient",
            "cc_base", "cc_detail", "decomposition",
        },
        "fusion": {
            "total", "fusion", "intensity", "gradient", "cc_base", "cc_detail", "decomposition"
        },
    }  # fmt: skip
    for stage, names in parts.items():
        for prefix in (stage, f"held_out/{stage}"):
            assert {x for x in tags if x.rpartition("/")[0] == prefix} == {
                f"{prefix}/{name}" for name in names
            }
    assert set(tags["reconstruction/total"]) == {1, 2, 3, 4}
    assert set(tags["fusion/total"]) == {5, 6, 7, 8}
    assert set(tags["held_out/reconstruction/total"]) == {0, 2, 4}
    assert set(tags["held_out/fusion/total"]) == {6, 8}
    assert set(tags["grad_norm/encoder"]) == set(range(1, 9))
    assert set(tags["grad_norm/base_fusion"]) == {5, 6, 7, 8}
    assert min(tags["pairs_per_second"].values()) > 0
    assert 0 <= tags["speed/input_wait_seconds"][1] < tags["speed/step_seconds"][1]
    # The fusion layers start stage II at the full rate, when the encoder's has been halved.
    initial = tiny_config.learning_rate.initial
    assert [tags["lr/encoder"][step] for step in (1, 4, 5, 8)] == pytest.approx(
        [initial, initial, initial / 2, initial / 2]
    )
    assert [tags["lr/detail_fusion"][step] for step in (5, 8)] == pytest.approx([initial, initial])
    assert {file.name for file in (workdir / "pictures").iterdir()} == {
        "step_000004.png",
        "step_000008.png",
    }
    meta = load_meta(workdir)
    assert meta["config"] == tiny_config.to_dict()
    assert (meta["pairs"], meta["steps_per_epoch"]) == (4, 2)
    assert meta["held out names"] == ["2", "5"]


def test_what_is_loaded_is_the_running_mean(tiny_run):
    workdir, state = tiny_run
    for folder in ("", "checkpoints", "checkpoints/8"):
        assert_same(load_params(workdir / folder), state.ema)
    assert differ(state.ema, state.params, "encoder")


def differ(a, b, module: str) -> bool:
    return not np.array_equal(jax.tree.leaves(a[module])[0], jax.tree.leaves(b[module])[0])


def test_damaged_stopped_and_resumed_it_ends_bit_identical(tiny_run, tiny_config, tmp_path, capsys):
    """Back to where stage II begins, stopped within it; the same after updates were traced."""
    workdir = tmp_path / "run"
    shutil.copytree(tiny_run[0], workdir)
    shutil.rmtree(workdir / "checkpoints" / "8" / "optimizer")
    train_and_evaluate(tiny_config, workdir, lambda step: step == 7, profile_steps=(6, 6))
    printed = capsys.readouterr().err
    assert f"resuming {workdir} after step 4 of 8" in printed
    assert "trace of updates 6 to 6" in printed
    (file,) = (workdir / "profile").glob("plugins/profile/*/perfetto_trace.json.gz")
    events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    assert any("shard_map" in event.get("name", "") or "jit" in event.get("name", "")
               for event in events)  # fmt: skip
    assert saved_steps(workdir) == [4, 6, 7]  # the end of stage I, the best yet, the newest
    assert_same(train_and_evaluate(tiny_config, workdir), tiny_run[1])
    assert "after step 7 of 8" in capsys.readouterr().err


def test_stage_one_leaves_the_fusion_layers_alone(tiny_run):
    last, checkpoints = tiny_run[1], Checkpoints(tiny_run[0])
    middle = checkpoints.restore(4, last)
    checkpoints.close()
    for module, updates in zip(MODULES, (4, 4, 0, 0), strict=True):
        assert int(update_count(middle.opt_state[module])) == updates
        assert int(update_count(last.opt_state[module])) == updates + 4
        assert differ(middle.params, last.params, module)


def test_a_finished_run_stays_as_it_is(tiny_run, tiny_config, capsys):
    workdir, state = tiny_run
    before = (workdir / "checkpoints" / "8").stat().st_mtime_ns
    again = train_and_evaluate(tiny_config, workdir)
    assert_same(again, state)
    assert (workdir / "checkpoints" / "8").stat().st_mtime_ns == before
    assert str(workdir / "pictures" / "step_000008.png") in capsys.readouterr().out


def test_another_config_is_refused_by_field(tiny_run, tiny_config):
    other = tiny_config.copy_and_resolve_references()
    other.model.features = 16
    other.data.crop = 12
    with pytest.raises(InputError) as error:
        train_and_evaluate(other, tiny_run[0])
    assert "data.crop was 16 and is 12" in str(error.value)
    assert "model.features was 8 and is 16" in str(error.value)
    assert "batch_size" not in str(error.value)


def test_what_does_not_shape_model_or_data_may_change(tiny_run, tiny_config):
    other = tiny_config.copy_and_resolve_references()
    other.log_every = 3
    other.learning_rate.initial = 1e-5
    assert int(train_and_evaluate(other, tiny_run[0]).step) == 8


def test_a_loss_that_is_not_finite_stops_the_run(tiny_config, tmp_path, monkeypatch):
    config = tiny_config.copy_and_resolve_references()
    config.checkpoint_every, config.held_out.every_nth, config.data.count = 1, 0, 4

    first = []

    def drawn(seed, *size):
        first.append(seed)
        return synthetic_pair(seed, *size)

    def overflowing(seed, *size):  # when squared; those of the second batch
        return [image * (1 if seed in first else 1e30) for image in synthetic_pair(seed, *size)]

    monkeypatch.setattr("cddfuse_jax.data.sources.synthetic_pair", drawn)
    source = open_sources(config.data)[0]
    batches(source, batch_size=2, seed=config.seed, crop=16, flip=True)[0]
    monkeypatch.setattr("cddfuse_jax.data.sources.synthetic_pair", overflowing)
    message = "not finite in stage reconstruction, epoch 0, step 2: .*mse_vis.*total"
    with pytest.raises(NonFiniteError, match=message):
        train_and_evaluate(config, tmp_path)
    assert saved_steps(tmp_path) == [1]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(load_params(tmp_path)))


def held_out_losses(workdir) -> dict[int, float]:
    return read_scalars(workdir)["held_out/fusion/total"]


def test_the_held_out_loss_is_that_of_the_running_mean_on_those_pairs(tiny_run, tiny_config):
    workdir, state = tiny_run
    training, held_out = make_sources(tiny_config)
    assert (training.names, held_out.names) == (["0", "1", "3", "4"], ["2", "5"])
    stage = make_stages(tiny_config, make_model(tiny_config))[1]
    loss = jax.jit(stage.loss)
    losses = []
    for pair in (held_out[0], held_out[1]):
        images = (pair[name][None, 4:20, 4:20] for name in ("visible", "infrared"))
        losses.append(float(loss(state.ema, *images)[0]))
    assert held_out_losses(workdir)[8] == pytest.approx(np.mean(losses), rel=1e-4)


def test_fusing_says_that_it_takes_the_running_mean(tiny_run, tmp_path, monkeypatch, capsys):
    for side, image in zip(("vi", "ir"), synthetic_pair(1, 24, 24), strict=True):
        write_png(tmp_path / f"{side}.png", np.rint(255 * image).astype(np.uint8))
    given = [("vi", "vi.png"), ("ir", "ir.png"), ("out", "fused.png"), ("weights", tiny_run[0])]
    monkeypatch.chdir(tmp_path)
    words = ["fuse", "--best", *(f"--{name}={value}" for name, value in given)]
    monkeypatch.setattr("sys.argv", words)
    assert fuse.main() == 0
    told = capsys.readouterr().err
    assert "note: fusing with the running mean of the run's params (ema=0.5)" in told
    step = min((loss, step) for step, loss in held_out_losses(tiny_run[0]).items())[1]
    assert best_of(tiny_run[0]) == tiny_run[0] / "checkpoints" / str(step)
    with pytest.raises(InputError, match="no run that kept its best checkpoint"):
        best_of("ivf")


@pytest.mark.long
def test_a_run_starts_from_weights_with_fresh_moments(tiny_run, tiny_config, tmp_path):
    """By Muon and a cosine that warms up, from the mean of a run by Adam."""
    workdir, before = tiny_run
    config = tiny_config.copy_and_resolve_references()
    config.init_from = str(workdir)
    config.optimizer = "muon"
    config.reconstruction_epochs = 0
    config.fusion_epochs = 1
    config.learning_rate.update(schedule="cosine", warmup=2, initial=1e-12, floor=0.0)
    state = train_and_evaluate(config, tmp_path / "tuned")
    for found, start in zip(
        jax.tree.leaves(state.params), jax.tree.leaves(before.ema), strict=True
    ):
        np.testing.assert_allclose(found, start, atol=1e-6)
    assert int(update_count(state.opt_state["encoder"])) == 2
    config.init_from = str(tmp_path / "gone")  # is not read again
    assert_same(train_and_evaluate(config, tmp_path / "tuned"), state)


def test_weights_of_another_network_are_refused(tiny_run, tiny_config, tmp_path):
    config = tiny_config.copy_and_resolve_references()
    config.init_from = str(tiny_run[0])
    config.model.features = 16
    with pytest.raises(InputError, match="another network, features 8 instead of 16; set config"):
        train_and_evaluate(config, tmp_path)
    config.init_from = str(tmp_path / "none")
    with pytest.raises(InputError, match="none"):
        train_and_evaluate(config, tmp_path)
