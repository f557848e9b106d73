"""The house: imports between its rooms point down, and opening the front door imports nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from programs import HANG_SECONDS

import cddfuse_jax

PACKAGE = Path(cddfuse_jax.__file__).parent
MAIN = "cddfuse_jax.__main__"
# A room may import itself and those that follow it; the commands are all files at the top that are
# not named here. The front door, `__init__`, may import all of them, and nobody imports it.
ORDER = (
    "commands",
    "export",
    "release",
    "evaluation",
    "training",
    "fusing",
    "data",
    "weights",
    "models",
    "metrics",
    "pairs",
    "rigs",
    "images",
    "config",
    "devices",
    "console",
    "signals",
    "huge_pages",
    "custom_code",
    "files",
    "errors",
    "_version",
)
COMMANDS = ("check_data", "demo", "evaluate", "export.__main__", "fuse", "parity",
            "plan", "score_weights", "train", "data.patches",
            "data.tfds_builder")  # fmt: skip


def room_of(module: str) -> str:
    """Return the room of ``cddfuse_jax.ROOM....``."""
    name = module.split(".")[1] if "." in module else "commands"
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


def modules() -> dict[str, set[str]]:
    """Return every module of the package with those that it imports."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(("cddfuse_jax", *parts)).removesuffix(".__init__")
        found[name] = imported(file)
    # `from package import module` names a module; so does what such a package's __init__ imports.
    return {name: {_module(other, found) for other in others} for name, others in found.items()}


def _module(name: str, known: dict) -> str:
    return name if name in known else name.rpartition(".")[0]


def test_imports_between_rooms_point_down():
    wrong = []
    for module, others in modules().items():
        if module == "cddfuse_jax":
            continue
        own = ORDER.index(room_of(module))
        for other in sorted(others):
            upward = other == "cddfuse_jax" or ORDER.index(room_of(other)) < own
            if upward or (own == 0 and room_of(other) == "commands" and module != MAIN):
                wrong.append(f"{module} imports {other}")
    assert len(modules()) > 50
    assert wrong == []


def test_no_module_imports_itself_by_a_detour():
    graph, done = modules(), set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for other in graph[module]:
                visit(other, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_a_file_name_says_which_file():
    names = [file.name for file in PACKAGE.rglob("*.py") if not file.name.startswith("__")]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def python(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=PACKAGE.parent, capture_output=True, text=True, timeout=HANG_SECONDS,
    )  # fmt: skip


LOADED = "import sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"


def test_importing_the_package_imports_nothing_else():
    loaded = python("-c", f"import cddfuse_jax; {LOADED}").stdout.split()
    assert "cddfuse_jax" in loaded
    assert not {"jax", "numpy", "scipy", "flax", "orbax", "PIL", "tqdm"} & set(loaded)


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
