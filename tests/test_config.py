import math

import pytest
from programs import REPOSITORY, ends

from cddfuse_jax import config as configs
from cddfuse_jax.errors import InputError
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.train import main as train
from cddfuse_jax.training.losses import LossWeights
from cddfuse_jax.training.recipe import make_model
from cddfuse_jax.training.starting import with_sizes

FOLDER = REPOSITORY / "configs"
IVF = str(FOLDER / "ivf.py")


def test_ivf_is_the_release():
    config = configs.load(IVF, [])
    assert (config.reconstruction_epochs, config.fusion_epochs, config.batch_size) == (40, 80, 8)
    assert config.clip_norm == 0.01
    assert config.learning_rate.to_dict() == {
        "schedule": "staircase", "initial": 1e-4, "decay": 0.5, "decay_epochs": 20, "floor": 1e-6,
        "warmup": 0,
    }  # fmt: skip
    assert LossWeights() == (5, 5, 10, 2, 0)
    assert make_model(config) == CDDFuse()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_every_config_has_the_same_fields_and_says_its_command(path):
    config = configs.load(str(path), [])
    assert dict(configs.flat(config)).keys() == dict(configs.flat(configs.release())).keys()
    make_model(config)
    assert f"--config=configs/{path.name}" in path.read_text(encoding="utf-8").split('"""')[1]


def test_paper_and_medical_recipes():
    paper = configs.load(str(FOLDER / "ivf_paper.py"), [])
    assert paper.batch_size == 16 and paper.loss.reconstruction_gradient == 0
    assert configs.load(str(FOLDER / "mif.py"), []).residual == "none"


def test_overrides():
    config = configs.load(
        IVF, ["--config.batch_size=4", "--config.data.flip=true", "--config.data.file=a.h5"]
    )
    assert (config.batch_size, config.data.flip, config.data.file) == (4, True, "a.h5")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.batchsize=4", "no field 'batchsize'; did you mean batch_size?"),
        ("--config.data.croop=4", "no field 'data.croop'; did you mean data.crop?"),
        ("--config.croop=4", "no field 'croop'; did you mean data.crop?"),
        ("--config.batch_size=many", "config.batch_size must be of type int like 8, got 'many'"),
        ("--config.data.flip=maybe", "config.data.flip must be of type bool"),
        ("--config.zzzzzz=1", "no field 'zzzzzz'; it has accumulate, batch_size"),
    ],
)
def test_wrong_overrides_are_one_line(override, message):
    with pytest.raises(InputError) as error:
        configs.load(IVF, [override])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_are_no_config(tmp_path):
    with pytest.raises(InputError, match="no such config file"):
        configs.load(str(tmp_path / "absent.py"), [])
    for text in ("x = 1\n", "def get_config(:\n", "raise RuntimeError('no')\n"):
        path = tmp_path / "broken.py"
        path.write_text(text)
        with pytest.raises(InputError, match="cannot be read as a config"):
            configs.load(str(path), [])


def test_sizes_that_do_not_fit_each_other():
    config = configs.release()
    config.model.features = 20
    with pytest.raises(InputError, match=r"multiple of heads, got features=20, heads=8"):
        configs.check(config)
    config.model.features, config.model.heads = 9, 3
    with pytest.raises(InputError, match="must be even"):
        configs.check(config)


@pytest.mark.parametrize("name", ["ivf", "ivf.py", "configs/ivf.py"])
def test_configs_of_the_package_are_found_by_name_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert configs.load(name, []).to_dict() == configs.release().to_dict()


def test_a_file_of_that_name_comes_before_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = "from cddfuse_jax import config\n\ndef get_config():\n    own = config.release()\n"
    (tmp_path / "ivf").write_text(own + "    own.seed = 7\n    return own\n")
    assert configs.load("ivf", []).seed == 7


def test_the_network_is_that_of_the_weights_to_start_from(tmp_path):
    given = configs.load("ivf", ["--config.init_from=small"])
    config = with_sizes(given, tmp_path)
    assert given.model.features == 64
    sizes = {"features": 16, "heads": 4, "blocks": 2, "coupling_layers": 1}
    assert {size: config.model[size] for size in sizes} == sizes
    asked = configs.load("ivf", ["--config.init_from=small", "--config.model.blocks=3"])
    assert with_sizes(asked, tmp_path).model.blocks == 3
    custom = configs.load("ivf", ["--config.init_from=small", "--config.model.base=mine:Block"])
    model = with_sizes(custom, tmp_path).model
    assert (model.features, model.base) == (16, "mine:Block")


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
    for name, field in configs.fields.FIELDS.items():
        free = isinstance(field.default, bool) or field.default == "" or name == "data.split"
        assert (field.rule is None) == free, name


def test_a_field_that_a_config_file_invents_is_refused_with_the_nearest_one(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from cddfuse_jax import config\n\ndef get_config():\n    own = config.release()\n"
        "    own.loss.decompositon = 1.0\n    own.loss.ssim = -5.0\n    return own\n"
    )
    with pytest.raises(InputError) as error:
        configs.check(configs.load(str(tmp_path / "mine.py"), []))
    assert str(error.value) == (
        "the config has no field 'loss.decompositon'; did you mean loss.decomposition?; "
        "config.loss.ssim must be at least 0, got -5.0"
    )


def test_help_fields_prints_every_field_with_value_range_and_meaning(capsys):
    assert ends(train, "--config=quickstart", "--config.batch_size=3", "--help-fields") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("--config.batch_size=3")]
    shown = [line.removeprefix("--config.").partition("=")[0] for line in lines[::2]]
    assert shown == list(configs.fields.FIELDS)
    assert lines[lines.index("--config.optimizer=adam") + 1].endswith("(one of adam, muon)")
    assert all(len(line.strip()) > 4 for line in lines[1::2])


def test_a_run_with_a_wrong_field_does_not_begin(tmp_path, capsys):
    workdir = tmp_path / "run"
    assert ends(train, f"--config={IVF}", f"--workdir={workdir}", "--config.batchsize=3") == 2
    line = "error: the config has no field 'batchsize'; did you mean batch_size?\n"
    assert capsys.readouterr().err == line and not workdir.exists()
