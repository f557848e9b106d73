"""Custom parts and losses in a run: named, traced first, kept, started from weights, frozen."""

import contextlib
import io
import operator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import parts
import pytest
from numerics import starting_params
from scalars import read_scalars

from cddfuse_jax import custom_code
from cddfuse_jax.config import check, release
from cddfuse_jax.errors import InputError
from cddfuse_jax.models.cddfuse import MODULES
from cddfuse_jax.training.frozen import frozen_parts, replaced, trained_part
from cddfuse_jax.training.own_loss import own_loss
from cddfuse_jax.training.recipe import make_model, make_stages
from cddfuse_jax.training.run import train_and_evaluate
from cddfuse_jax.training.starting import starting_params as starting_params_of
from cddfuse_jax.training.update import TrainState
from cddfuse_jax.weights.any_format import load_meta

CODE = Path(parts.__file__).read_text()
PLAIN = dict.fromkeys(("block", "base", "detail"), "parts:Pointwise")


def stage_two(tiny_config):
    """One epoch of two updates."""
    config = tiny_config.copy_and_resolve_references()
    config.reconstruction_epochs, config.fusion_epochs = 0, 1
    config.ema = 0.0
    config.held_out.every_nth = 0
    config.data.count = 4
    config.model.base = ""
    return config


@pytest.fixture
def config(tiny_config):
    return stage_two(tiny_config)


def leaves(tree) -> dict[str, np.ndarray]:
    paths = jax.tree.leaves_with_path(jax.device_get(tree))
    return {"/".join(key.key for key in path): np.asarray(leaf) for path, leaf in paths}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model.base", "./mine.py:Halving", "./mine.py:Halving"),
        ("model.base", "./mine.py:Batch", "./mine.py:Batch"),
        ("model.detail", "./mine.py:Drop", "./mine.py:Drop"),
        ("loss.own", "./mine.py:whole_image", r"part 'apart' must be a floating-point scalar, got"),
        ("loss.own", "./mine.py:taken", "a part may not be called 'gradient'"),
        ("loss.own", "./mine.py:fails", "fails .AttributeError: .*picture"),
        ("loss.own_weights", "bright=-1", "each at least 0"),
        ("loss.own_weights", "brihgt=1", "did you mean bright"),
        ("frozen", "encoder/bocks", "encoder has no part 'bocks'; did you mean blocks"),
        ("frozen", ",".join(MODULES), "leaves nothing to train in stage fusion"),
    ],
)
def test_what_cannot_be_trained_is_one_line_before_anything_is_written(
    code, config, field, value, message
):
    group, _, last = field.rpartition(".")
    config.loss.own = "./mine.py:terms"
    (config[group] if group else config)[last] = value
    with pytest.raises(InputError, match=message) as error:
        train_and_evaluate(config, code.parent / "run")
    assert "\n" not in str(error.value)
    assert not (code.parent / "run").exists()


class Custom(NamedTuple):
    """A run of two updates of stage II; what it started from, its last state, what it printed."""

    folder: Path
    given: dict[str, np.ndarray]
    state: TrainState
    printed: str


@pytest.fixture(scope="module")
def custom_run(tiny_config, tiny_weights, tiny_params, tmp_path_factory) -> Custom:
    """With a custom branch and custom parts of the loss, parts frozen, from other weights."""
    config = stage_two(tiny_config)
    config.loss.own, config.loss.own_weights = "./mine.py:terms", "apart=3"
    config.frozen, config.ema = "encoder/blocks,decoder", 0.5
    config.init_from, config.model.base = str(tiny_weights), "./mine.py:Scale"
    config.learning_rate.initial = 1e-5
    config.held_out.every_nth, config.held_out.every, config.data.count = 3, 2, 6
    folder, printed = tmp_path_factory.mktemp("custom"), io.StringIO()
    (folder / "mine.py").write_text(CODE)
    with contextlib.chdir(folder), contextlib.redirect_stderr(printed):
        state = train_and_evaluate(config, folder / "run")
    return Custom(folder / "run", leaves(tiny_params), state, printed.getvalue())


def test_own_parts_are_added_logged_held_out_and_kept(custom_run):
    tags = read_scalars(custom_run.folder)
    for prefix in ("fusion", "held_out/fusion"):
        assert {f"{prefix}/apart", f"{prefix}/bright"} <= tags.keys()
        step = max(tags[f"{prefix}/total"])
        of = {name: tags[f"{prefix}/{name}"][step] for name in
              ("total", "fusion", "decomposition", "apart", "bright")}  # fmt: skip
        total = of["fusion"] + 2 * of["decomposition"] + 3 * of["apart"] + of["bright"]
        assert of["total"] == pytest.approx(total, rel=1e-5)
    assert (custom_run.folder / "own/mine.py").read_text() == CODE
    assert load_meta(custom_run.folder)["own"] == {"mine.py": custom_code.digest(CODE.encode())}


def test_a_custom_part_starts_all_that_fits_and_the_rest_is_named(custom_run, tiny_weights):
    assert (
        f"note: 48 of 50 arrays start from {tiny_weights}; random: base_fusion (1), encoder/base "
        "(1); left out of it: base_fusion (11), encoder/base (11)"
    ) in custom_run.printed
    given, found = custom_run.given, leaves(custom_run.state.params)
    assert len(given.keys() & found.keys()) == 48
    for name in given.keys() & found.keys():  # two updates of at most 1e-5 each
        np.testing.assert_allclose(found[name], given[name], rtol=1e-6, atol=3e-5, err_msg=name)
    np.testing.assert_allclose(found["encoder/base/weight"], 1, atol=3e-5)


def test_frozen_parts_stay_bit_for_bit_without_moments(custom_run):
    state, given = custom_run.state, custom_run.given
    assert int(state.step) == 2
    params, mean = leaves(state.params), leaves(state.ema)
    both = given.keys() & params.keys()
    moved = {name for name in both if (params[name] != given[name]).any()}
    frozen = {name for name in both if name.startswith(("encoder/blocks/", "decoder/"))}
    assert moved.isdisjoint(frozen) and len(moved) > 10 and len(frozen) > 10
    for name in frozen:
        np.testing.assert_array_equal(mean[name], given[name])
    kept = [name for module in MODULES for name in map(jax.tree_util.keystr, (
        path for path, _ in jax.tree.leaves_with_path(state.opt_state[module])))]  # fmt: skip
    assert not [name for name in kept if "blocks" in name or "output1" in name]
    assert len(jax.tree.leaves(state.opt_state["decoder"])) == 2  # counts alone


def test_a_branch_without_params_is_trained_around_and_started_from(config, tmp_path):
    config.model.update(PLAIN | {"detail": "parts:Nothing"})
    config.ema = 0.9
    state = train_and_evaluate(config, tmp_path / "run")
    assert state.params["detail_fusion"] == {} and "detail" not in state.params["encoder"]
    config.init_from, config.model.base = str(tmp_path / "run"), "parts:Nothing"
    started = starting_params_of(config, make_model(config))
    assert started["base_fusion"] == started["detail_fusion"] == {}
    for module in ("encoder", "decoder"):
        found, mean = leaves(started[module]), leaves(state.ema[module])
        assert found and found.keys() <= mean.keys()
        for name, leaf in found.items():
            np.testing.assert_array_equal(leaf, mean[name])


@pytest.mark.long
def test_a_resumed_run_says_that_its_code_changed_and_keeps_both(code, config, capsys):
    config.model.update(PLAIN)
    config.loss.own = "./first/mine.py:terms"
    for folder in ("first", "second"):  # a process reads a file once
        code.with_name(folder).mkdir()
        code.with_name(folder).joinpath("mine.py").write_text(CODE)
    run = code.parent / "run"
    train_and_evaluate(config, run)
    changed = CODE + "\n# changed\n"
    code.with_name("second").joinpath("mine.py").write_text(changed)
    config.loss.own = "./second/mine.py:terms"
    capsys.readouterr()
    train_and_evaluate(config, run)
    before, after = (custom_code.digest(text.encode()) for text in (CODE, changed))
    assert (
        f"mine.py is not the code that {run} was trained with: its digest is {after} instead"
        in (capsys.readouterr().err)
    )
    assert (run / "own/mine.py").read_text() == changed
    assert (run / f"own/{before}/mine.py").read_text() == CODE


@pytest.mark.long
def test_the_gradient_of_own_parts_is_that_of_their_weighted_sum(code, config):
    config.model.update(PLAIN)
    config.loss.own, config.loss.own_weights = "./mine.py:terms", "apart=3"
    plain = config.copy_and_resolve_references()
    plain.loss.own = plain.loss.own_weights = ""
    images = np.random.default_rng(0).random((2, 2, 16, 16, 1), np.float32)
    model = make_model(config)
    params = starting_params(model)

    def added(params):
        fusion = model.apply({"params": params}, *images, "visible", method="fuse_with_features")
        base = fusion.base
        return 3 * jnp.mean((base[:2] - base[2:]) ** 2) - fusion.image.mean()

    def gradient_of(config):
        loss = make_stages(config, model)[1].loss
        return jax.jit(jax.grad(lambda params: loss(params, *images)[0]))(params)

    found = leaves(gradient_of(config))
    wanted = leaves(jax.tree.map(jnp.add, gradient_of(plain), jax.jit(jax.grad(added))(params)))
    for name, gradient in wanted.items():
        scale = np.linalg.norm(gradient)
        assert np.linalg.norm(found[name] - gradient) <= 1e-4 * scale + 1e-6, name


def test_paths_of_frozen_parts(tiny_params):
    paths = frozen_parts("encoder/blocks, decoder", tiny_params)
    assert paths == ("encoder/blocks", "decoder")
    part = trained_part("encoder", tiny_params["encoder"], paths)
    assert part.keys() == tiny_params["encoder"].keys() - {"blocks"}
    assert trained_part("decoder", tiny_params["decoder"], paths) == {}
    changed = replaced(tiny_params, {"encoder": jax.tree.map(lambda x: x + 1, part)})
    assert changed["encoder"]["blocks"] is not part
    np.testing.assert_array_equal(
        changed["encoder"]["patch_embed"], tiny_params["encoder"]["patch_embed"] + 1
    )
    same = jax.tree.map(operator.is_, changed["decoder"], tiny_params["decoder"])
    assert jax.tree.all(same)


def test_negative_weights_are_refused():
    with pytest.raises(InputError, match=r"config\.loss\.own_weights must be PART=NUMBER"):
        own_loss("os:getcwd", "edges")
    config = release()
    config.loss.decomposition = -2.0
    with pytest.raises(InputError, match=r"loss\.decomposition must be at least 0, got -2\.0"):
        check(config)
