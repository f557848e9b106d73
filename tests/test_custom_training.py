"""Custom parts and losses in a run: named, traced first, kept, started from weights, frozen."""

import contextlib
import io
import json
import operator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numerics import starting_params
from programs import ends
from scalars import read_scalars
from stored import write_checkpoint

from cddfuse_jax import Fuser, custom_code
from cddfuse_jax.config import check, release
from cddfuse_jax.convert import main as convert
from cddfuse_jax.errors import InputError
from cddfuse_jax.models.cddfuse import MODULES
from cddfuse_jax.training.frozen import frozen_parts, replaced, trained_part
from cddfuse_jax.training.own_loss import own_loss
from cddfuse_jax.training.recipe import make_model, make_stages
from cddfuse_jax.training.run import train_and_evaluate
from cddfuse_jax.training.starting import with_sizes
from cddfuse_jax.training.update import TrainState
from cddfuse_jax.weights.any_format import load, load_meta, load_params, save_params

CODE = '''
import jax.numpy as jnp
from flax import linen as nn


class Scale(nn.Module):
    """A weight for each channel."""

    features: int

    @nn.compact
    def __call__(self, x):
        return x * self.param("weight", nn.initializers.ones, (self.features,))


def larger(visible, infrared):
    return jnp.maximum(visible, infrared)


class Half(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x[:, ::2, ::2]


class Norm(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.BatchNorm(use_running_average=False)(x)


class Drop(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dropout(0.5, deterministic=False)(x)


def terms(visible, infrared, fusion):
    n = visible.shape[0]
    base = fusion.base
    return {"apart": jnp.mean((base[:n] - base[n:]) ** 2), "bright": -fusion.image.mean()}


def whole_image(visible, infrared, fusion):
    return {"apart": fusion.image}


def taken(visible, infrared, fusion):
    return {"gradient": fusion.image.mean()}


def fails(visible, infrared, fusion):
    return {"apart": fusion.picture.mean()}
'''


@pytest.fixture
def code(tmp_path, monkeypatch) -> Path:
    """The user's file, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CODE)
    return tmp_path / "mine.py"


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


def test_code_is_found_by_file_and_by_module_and_its_faults_are_one_line(code, monkeypatch):
    scale = custom_code.load("./mine.py:Scale")
    assert scale is custom_code.load(f"{code}:Scale")
    code.with_name("mine_by_name.py").write_text(CODE)  # no other test has imported it
    assert custom_code.load("mine_by_name:Scale").__name__ == "Scale"
    assert custom_code.file_of("mine_by_name:Scale").resolve() == code.with_name("mine_by_name.py")
    code.with_name("broken.py").write_text("x = 1\nimport nosuchmodule\n")
    code.with_name("typo.py").write_text("x = 1\ndef (:\n")
    for name, message in (
        ("broken:Scale", r"its code fails in broken.py line 2 \(ModuleNotFoundError: No module"),
        ("broken.py:Scale", r"its code fails in broken.py line 2"),
        ("typo:Scale", "its code fails in typo.py line 2 .SyntaxError"),
        ("mine.py:Scael", "has no 'Scael'; did you mean Scale"),
        ("nowhere:Scale", "no module 'nowhere' in the current folder"),
        ("Scale", "expected MODULE:NAME"),
    ):
        with pytest.raises(InputError, match=message) as error:
            custom_code.load(name)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model.base", "./mine.py:Half", "./mine.py:Half"),
        ("model.base", "./mine.py:Norm", "./mine.py:Norm"),
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


@pytest.mark.long
def test_a_resumed_run_says_that_its_code_changed_and_keeps_both(code, config, capsys):
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
def test_the_gradient_of_own_parts_is_that_of_their_weighted_sum(code, config, tiny_params):
    config.loss.own, config.loss.own_weights = "./mine.py:terms", "apart=3"
    plain = config.copy_and_resolve_references()
    plain.loss.own = plain.loss.own_weights = ""
    images = np.random.default_rng(0).random((2, 2, 16, 16, 1), np.float32)
    model = make_model(config)

    def added(params):
        fusion = model.apply({"params": params}, *images, "visible", method="fuse_with_features")
        base = fusion.base
        return 3 * jnp.mean((base[:2] - base[2:]) ** 2) - fusion.image.mean()

    def gradient_of(config):
        loss = make_stages(config, model)[1].loss
        return jax.grad(lambda params: loss(params, *images)[0])(tiny_params)

    found = leaves(gradient_of(config))
    wanted = leaves(jax.tree.map(jnp.add, gradient_of(plain), jax.grad(added)(tiny_params)))
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


@pytest.fixture
def custom_params(config, code):
    """Params of a network with `Scale` in place of every block and branch, and its config."""
    config.model.update(dict.fromkeys(("block", "base", "detail"), "./mine.py:Scale"))
    return starting_params(make_model(config)), {"config": config.to_dict()}


def test_a_run_of_another_block_and_fusion_rule_is_built_from_its_config(code, config, tmp_path):
    parts = dict.fromkeys(("block", "base", "detail"), "./mine.py:Scale")
    config.model.update(parts | {"merge": "./mine.py:larger"})
    model = make_model(config)
    run = write_checkpoint(tmp_path / "run", starting_params(model), {"config": config.to_dict()})
    weights = load(run)
    assert weights.model == model
    assert weights.params["encoder"]["blocks"]["0"].keys() == {"weight"}


def test_one_file_holds_a_custom_network_and_never_runs_its_code(
    code, custom_params, tmp_path, capsys
):
    params, meta = custom_params
    file = tmp_path / "custom.safetensors"
    save_params(file, params, meta)
    code.unlink()
    jax.tree.map(np.testing.assert_array_equal, load_params(file), params)
    held = json.loads(json.dumps(load_meta(file)["code"]))
    assert held == {"mine.py": CODE}
    with pytest.raises(InputError, match="is not run from a weights file; write it out by cddfuse"):
        load(file)
    start = release()
    start.init_from = str(file)
    assert with_sizes(start, tmp_path).model.base == ""  # nor does a run that starts from it
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert ends(convert, file, elsewhere / "mine.py") == 0
    weights = load(file, own=[elsewhere / "mine.py"])
    assert weights.model.base == f"{elsewhere}/mine.py:Scale"
    pair = np.random.default_rng(0).random((2, 16, 16), np.float32)
    fused = Fuser(file, own=[elsewhere / "mine.py"])(*pair)
    assert np.ptp(fused) > 0.5
    assert ends(convert, file, tmp_path / "again.safetensors") == 0
    assert load_meta(tmp_path / "again.safetensors")["code"] == held
    capsys.readouterr()
    assert ends(convert, file, tmp_path / "other.py") == 2
    assert ends(convert, file, tmp_path / "m.pth") == 2
    lines = capsys.readouterr().err.splitlines()
    assert "holds no code called other.py, but mine.py" in lines[0]
    assert ".pth holds the release's network" in lines[1]


def test_code_that_is_not_the_one_trained_with_is_noted(code, custom_params, tmp_path, capsys):
    params, meta = custom_params
    save_params(tmp_path / "w.safetensors", params, meta | {"own": {"mine.py": "0123456789ab"}})
    load(tmp_path / "w.safetensors", own=[code])
    now = custom_code.digest(CODE.encode())
    assert f"its digest is {now} instead of 0123456789ab" in capsys.readouterr().err
    with pytest.raises(InputError, match="the release's network, which has no custom code"):
        load("small", own=[code])


def test_negative_weights_are_refused():
    with pytest.raises(InputError, match=r"config\.loss\.own_weights must be PART=NUMBER"):
        own_loss("os:getcwd", "edges")
    config = release()
    config.loss.decomposition = -2.0
    with pytest.raises(InputError, match=r"loss\.decomposition must be at least 0, got -2\.0"):
        check(config)
