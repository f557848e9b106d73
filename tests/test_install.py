"""What a wheel holds, and the one program that has every command."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from agreement import assert_same_levels
from PIL import Image
from programs import HANG_SECONDS, environment

import cddfuse_jax
from cddfuse_jax import Fuser
from cddfuse_jax.__main__ import COMMANDS, main
from cddfuse_jax.weights.any_format import load_params

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> Path:
    """The wheel, unpacked, of the sdist that `python -m build` makes of a copy of this one."""
    root = tmp_path_factory.mktemp("built")
    for name in ("cddfuse_jax", "configs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, root / "source" / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, root / "source" / name)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(root), "source"],
        cwd=root, capture_output=True, text=True, timeout=HANG_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len([*root.glob("*.tar.gz")]) == 1
    (wheel,) = root.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(root / "site")
    return root / "site"


def run(unpacked: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "cddfuse_jax", *arguments],
        cwd=folder, env=environment(1) | {"PYTHONPATH": str(unpacked)},
        capture_output=True, text=True, timeout=HANG_SECONDS,
    )  # fmt: skip


def test_a_wheel_holds_all_that_the_package_has(unpacked):
    files = [*(REPOSITORY / "cddfuse_jax").rglob("*")]
    names = {f.relative_to(REPOSITORY).as_posix() for f in files if f.is_file()}
    names = {name for name in names if "__pycache__" not in name}
    held = {f.relative_to(unpacked).as_posix() for f in unpacked.rglob("*") if f.is_file()}
    assert "cddfuse_jax/py.typed" in held
    assert names <= held
    configs = {f"cddfuse_jax/configs/{file.name}" for file in (REPOSITORY / "configs").glob("*.py")}
    assert len(configs) >= 5 and configs <= held


def test_the_program_tells_version_and_commands(unpacked, tmp_path):
    told = run(unpacked, tmp_path, "--version")
    assert (told.returncode, told.stdout) == (0, f"cddfuse {cddfuse_jax.__version__}\n")
    told = run(unpacked, tmp_path, "--help")
    assert told.returncode == 0
    assert all(f"  {name} " in told.stdout for name in COMMANDS)
    wrong = run(unpacked, tmp_path, "fusee")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "error: cddfuse has no command 'fusee'; did you mean fuse?\n"


def test_a_wheel_fuses_as_the_checkout_does(unpacked, tmp_path):
    pair = np.uint8(np.random.default_rng(0).integers(0, 256, (2, 24, 32)))
    for name, image in zip(("vi.png", "ir.png"), pair, strict=True):
        Image.fromarray(image).save(tmp_path / name)
    done = run(unpacked, tmp_path, "fuse", "--vi", "vi.png", "--ir", "ir.png", "--out", "out.png",
               "--weights", "small")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_same_levels(np.asarray(Image.open(tmp_path / "out.png")), Fuser("small")(*pair))


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("check_dat", "; did you mean check-data?"),
        ("data.patches", "; did you mean patches?"),
        ("cddfuse_jax.data.tfds_builder", "; did you mean tfds?"),
        ("evalute", "; did you mean evaluate?"),
        ("zzzz", "; see --help"),
    ],
)
def test_an_unknown_command_gets_the_nearest_name(given, hint, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["cddfuse", given])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: cddfuse has no command {given!r}{hint}\n"


@pytest.mark.long
def test_a_wheel_trains_from_a_config_by_name_in_an_empty_folder(unpacked, tmp_path):
    sizes = ("features=8", "heads=2", "blocks=1", "coupling_layers=1", "remat=True")
    fields = [*(f"model.{size}" for size in sizes), "data.count=4", "data.crop=16"]
    fields += ["data.height=24", "data.width=24", "batch_size=4", "reconstruction_epochs=1"]
    fields += ["fusion_epochs=0"]
    done = run(unpacked, tmp_path, "train", "--config=quickstart", "--workdir=run",
               *(f"--config.{field}" for field in fields))  # fmt: skip
    assert done.returncode == 0, done.stderr
    first = "4 pairs, 1 update an epoch, 1 in all, on "
    assert done.stderr.startswith(first) and "trained 1 steps" in done.stderr
    assert load_params(tmp_path / "run")["decoder"]
    assert [file.name for file in tmp_path.iterdir()] == ["run"]
