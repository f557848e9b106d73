"""What longer training needs: weights to start from, schedules, running means, held-out pairs."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scalars import read_scalars

from cddfuse_jax import config as configs
from cddfuse_jax import fuse
from cddfuse_jax.data.pipeline import make_sources
from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.errors import InputError
from cddfuse_jax.images.image_files import write_png
from cddfuse_jax.models.cddfuse import MODULES
from cddfuse_jax.training.optimizers import Optimizer, learning_rate, update_count
from cddfuse_jax.training.recipe import make_model, make_optimizers, make_stages
from cddfuse_jax.training.run import train_and_evaluate
from cddfuse_jax.training.update import Stage, init_state, update
from cddfuse_jax.weights.any_format import best_of

pytestmark = pytest.mark.slow


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


def rates(**options) -> list[float]:
    schedule = learning_rate(10, 8, initial=1.0, floor=0.1, **options)
    return [float(schedule(count)) for count in range(9)]


def test_cosine_goes_from_the_initial_rate_to_the_floor():
    expected = [0.1 + 0.9 * (1 + math.cos(math.pi * count / 8)) / 2 for count in range(9)]
    assert rates(schedule="cosine") == pytest.approx(expected, rel=1e-6)
    assert rates(schedule="constant") == [1.0] * 9


def test_a_warm_up_rises_evenly_to_the_schedule():
    cosine = rates(schedule="cosine")
    assert rates(schedule="cosine", warmup=4) == pytest.approx(
        [0.25, 0.5, 0.75, cosine[3], *cosine[4:]], rel=1e-6
    )
    assert rates(schedule="staircase", warmup=2) == [0.5, *[1.0] * 8]


def test_each_module_ends_its_cosine_with_the_run():
    config = configs.release()
    config.reconstruction_epochs, config.fusion_epochs = 1, 2
    config.learning_rate.schedule = "cosine"
    optimizers = make_optimizers(config, steps_per_epoch=5)
    for module, updates in zip(MODULES, (15, 15, 10, 10), strict=True):
        assert float(optimizers[module].rate(updates)) == pytest.approx(1e-6, rel=1e-4)
        assert float(optimizers[module].rate(updates - 1)) > 1.2e-6


def test_the_running_mean_by_hand():
    """Params go 0, 1, 2, 3; the mean moves by max(1 - 0.8, 9/10, 9/11, 9/12) of the way."""
    climb = Optimizer(
        init=lambda params: (None, CountOnly(jnp.zeros((), jnp.int32))),
        update=lambda gradient, state, _params: (jax.tree.map(jnp.ones_like, gradient), state),
        rate=lambda count: 1.0,
    )
    optimizers = dict.fromkeys(MODULES, climb)
    stage = Stage("fusion", lambda params, *_, of_whole_batch: (params["encoder"], {}), MODULES)
    state = init_state(dict.fromkeys(MODULES, jnp.float32(0)), optimizers, ema=True)
    image, mean = jnp.zeros((1, 2, 2, 1)), 0.0
    for number, share in enumerate((9 / 10, 9 / 11, 9 / 12)):
        state, _ = update(state, image, image, stage=stage, optimizers=optimizers, ema=0.8)
        mean += share * (number + 1 - mean)
        assert float(state.params["decoder"]) == number + 1
        assert float(state.fusing_params["decoder"]) == pytest.approx(mean, rel=1e-6)
    late = state.replace(step=jnp.int32(1000))
    late, _ = update(late, image, image, stage=stage, optimizers=optimizers, ema=0.8)
    assert float(late.ema["decoder"]) == pytest.approx(mean + 0.2 * (4 - mean), rel=1e-6)


class CountOnly:
    def __init__(self, count):
        self.count = count


def held_out_losses(workdir) -> dict[int, float]:
    return read_scalars(workdir)["held_out/fusion/total"]


def test_the_held_out_loss_is_that_of_the_running_mean_on_those_pairs(tiny_run, tiny_config):
    workdir, state = tiny_run
    training, held_out = make_sources(tiny_config)
    assert (training.names(), held_out.names()) == (["0", "1", "3", "4"], ["2", "5"])
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


def folders_config(tmp_path, **names):
    """A config of pairs in several folders; ``names`` by folder."""
    config = configs.release()
    for side in ("visible", "infrared"):
        for folder, members in names.items():
            for name in members:
                write_png(tmp_path / side / folder / f"{name}.png", np.zeros((16, 16), np.uint8))
        config.data[side] = ",".join(str(tmp_path / side / folder) for folder in names)
    config.data.source = "folders"
    return config


def test_several_folders_are_one_source_and_lists_choose_from_it(tmp_path):
    config = folders_config(tmp_path, one=["a", "b", "c"], two=["c", "d", "e", "f"])
    training, held_out = make_sources(config)
    assert (training.names(), held_out) == (["a", "b", "c", "c", "d", "e", "f"], None)
    (tmp_path / "held").write_text("b.jpg\n\nc\n")
    config.held_out.names = str(tmp_path / "held")
    training, held_out = make_sources(config)
    assert training.names() == ["a", "d", "e", "f"]
    assert held_out.names() == ["b", "c", "c"]
    config.held_out.every_nth = 4  # of each folder; one has only three
    assert make_sources(config)[1].names() == ["b", "c", "c", "f"]
    config.held_out.count = 2
    assert make_sources(config)[1].names() == ["b", "c"]
    (tmp_path / "some").write_text("a\nb\nd")
    config.data.names = str(tmp_path / "some")
    assert make_sources(config)[0].names() == ["a", "d"]


def test_lists_that_do_not_fit_are_told(tmp_path):
    config = folders_config(tmp_path, one=["a", "b"])
    (tmp_path / "list").write_text("a\nx\ny")
    config.held_out.names = str(tmp_path / "list")
    with pytest.raises(InputError, match="2 of 3 names are not among the 2 pairs: x, y"):
        make_sources(config)
    (tmp_path / "list").write_text("a\nb")
    with pytest.raises(InputError, match="all 2 pairs are held out: none is left"):
        make_sources(config)
    config.data.visible += ",elsewhere"
    with pytest.raises(InputError, match="must name as many folders, got 2 and 1"):
        make_sources(config)


def test_every_value_outside_its_range_is_named():
    config = configs.release()
    configs.check(config)
    config.batch_size = config.keep_checkpoints = 0
    config.learning_rate.initial = -1.0
    config.clip_norm = math.nan
    config.fusion_epochs = -5
    config.ema = 1.0
    with pytest.raises(InputError) as error:
        configs.check(config)
    for line in (
        "config.batch_size must be at least 1, got 0",
        "config.keep_checkpoints must be at least 1, got 0",
        "config.learning_rate.initial must be above 0, got -1.0",
        "config.clip_norm must be above 0, got nan",
        "config.fusion_epochs must be at least 0, got -5",
        "config.ema must be at least 0 and below 1, got 1.0",
    ):
        assert line in str(error.value)


def test_every_number_and_choice_of_the_config_has_a_rule():
    fields = dict(configs.flat(configs.release()))
    free = {name for name, value in fields.items() if isinstance(value, bool)}
    free |= {name for name, value in fields.items() if value == "" or name == "data.split"}
    assert set(configs.fields.RULES) == set(fields) - free
