"""The house: imports between its rooms point down, and opening the front door imports nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cddfuse_jax

PACKAGE = Path(cddfuse_jax.__file__).parent
# A room may import itself and those that follow it; the commands are all files at the top that are
# not named here.
ORDER = (
    "commands",
    "webpage",
    "planning",
    "tasks",
    "release",
    "evaluation",
    "training",
    "decomposition",
    "fusing",
    "data",
    "distributed",
    "weights",
    "models",
    "metrics",
    "scenes",
    "images",
    "config",
    "runtime",
    "addresses",
    "console",
    "files",
    "errors",
)
COMMANDS = ("check_data", "decompose", "demo", "downstream", "evaluate", "export", "fuse", "parity",
            "plan", "reproduce", "score_weights", "train", "data.patches",
            "data.tfds_builder")  # fmt: skip


def room_of(module: str) -> str:
    """Return the room of ``cddfuse_jax.ROOM....``."""
    name = module.split(".")[1]
    return name if name in ORDER else "commands"


def imported(file: Path) -> set[str]:
    """Return every module of the package that a file imports, at its top or later."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports name the whole path"
            whole = [f"{node.module}.{name.name}" for name in node.names]
            found |= set(whole) if node.module == "cddfuse_jax" else {node.module}
    return {name for name in found if name.startswith("cddfuse_jax.")}


def test_imports_between_rooms_point_down():
    wrong = []
    files = [file for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py"]
    for file in files:
        module = ".".join(("cddfuse_jax", *file.relative_to(PACKAGE).with_suffix("").parts))
        own = ORDER.index(room_of(module))
        for other in sorted(imported(file)):
            if ORDER.index(room_of(other)) < own or (own == 0 and room_of(other) == "commands"):
                wrong.append(f"{module} imports {other}")
    assert len(files) > 50
    assert wrong == []


def python(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=PACKAGE.parent, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


LOADED = "import sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"


def test_importing_the_package_imports_nothing_else():
    loaded = python("-c", f"import cddfuse_jax; {LOADED}").stdout.split()
    assert "cddfuse_jax" in loaded
    assert not {"jax", "numpy", "scipy", "flax", "orbax", "PIL", "tqdm"} & set(loaded)


def test_importing_never_starts_the_program_again(tmp_path):
    """Another's ``python -m program`` that imports the package runs once, as it was started."""
    (tmp_path / "program.py").write_text(
        "import cddfuse_jax, cddfuse_jax.fuse, os\nprint(os.environ.get('GLIBC_TUNABLES'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "program"],
        cwd=tmp_path, env={"PYTHONPATH": str(PACKAGE.parent)}, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.stdout == "None\n", done.stderr


def test_public_names_are_there_and_are_all():
    code = "import cddfuse_jax as c; print(*(getattr(c, n).__name__ for n in sorted(c.__all__)))"
    assert python("-c", code).stdout.split() == [
        "CDDFuse", "Fuser", "InputError", "load_params", "cddfuse_jax.metrics", "save_params"
    ]  # fmt: skip
    with pytest.raises(AttributeError, match="no attribute 'Fusser'"):
        _ = cddfuse_jax.Fusser


@pytest.mark.parametrize("command", COMMANDS)
def test_help_comes_before_anything_heavy(command):
    script = (
        "import runpy, sys; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_module('cddfuse_jax.{command}', run_name='__main__')\n"
        "except SystemExit as end: print(end.code)\n"
        f"{LOADED}"
    )
    lines = python("-c", script).stdout.splitlines()
    assert lines[0].startswith("usage: python -m cddfuse_jax")
    assert lines[-2] == "0"
    heavy = {"jax", "flax", "optax", "orbax", "grain", "tensorflow_datasets", "tensorboardX"}
    assert not heavy & set(lines[-1].split())
    assert "scipy.ndimage" not in lines[-1]
