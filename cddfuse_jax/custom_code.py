"""The user's code that a config names: "mine:Block", or "./mine.py:Block" by its file."""

import contextlib
import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from cddfuse_jax.errors import InputError, did_you_mean, one_line

_files: dict[Path, ModuleType] = {}  # as Python keeps modules: what changes is not read again


def load(name: str) -> Any:
    """Return the class or function that a name means; its file is run.

    Args:
        name: "MODULE:NAME", where the module is in the current folder or installed, or
            "FILE.py:NAME".

    Raises:
        InputError: no such file or name, or the file fails when it is run; one line.
    """
    module, found = _module(name), name.rpartition(":")[2]
    if not hasattr(module, found):
        known = [each for each in vars(module) if not each.startswith("_")]
        raise InputError(f"{name}: {module.__file__} has no {found!r}{did_you_mean(found, known)}")
    return getattr(module, found)


def file_of(name: str) -> Path:
    """Return the file that holds what a name means; it is run."""
    file = getattr(_module(name), "__file__", None)
    if not file:
        raise InputError(f"{name}: expected code in a .py file")
    return Path(file)


def digest(text: bytes) -> str:
    """Return the first 12 digits of the SHA-256 of a file's content."""
    return hashlib.sha256(text).hexdigest()[:12]


def file_name(name: str) -> str:
    """Return the name of the file that "MODULE:NAME" or "FILE.py:NAME" names, without folders."""
    module = name.rpartition(":")[0]
    return Path(module).name if module.endswith(".py") else f"{module.rpartition('.')[2]}.py"


def from_files(name: str, files: Iterable[str | os.PathLike]) -> str:
    """Return the name with its file replaced by that of ``files`` which is called alike."""
    for file in files:
        if Path(file).name == file_name(name):
            return f"{os.fspath(file)}:{name.rpartition(':')[2]}"
    return name


def _module(name: str) -> ModuleType:
    module, colon, found = name.rpartition(":")
    if not (module and colon and found):
        raise InputError(f"{name}: expected MODULE:NAME or FILE.py:NAME")
    is_file = module.endswith(".py")
    if is_file and not Path(module).is_file():
        raise InputError(f"{name}: no such file; its place is relative to the current folder")
    try:
        with _current_folder_first():
            return _run(Path(module).resolve()) if is_file else importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not is_file and error.name and f"{module}.".startswith(f"{error.name}."):
            raise InputError(
                f"{name}: no module {error.name!r} in the current folder, nor installed"
            ) from None
        raise InputError(_failure(name, error)) from None
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise InputError(_failure(name, error)) from None


def _run(file: Path) -> ModuleType:
    if file not in _files:
        title = f"cddfuse_custom_{file.stem}_{len(_files)}"
        spec = importlib.util.spec_from_file_location(title, file)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[title] = module  # where dataclasses look annotations up
        spec.loader.exec_module(module)
        _files[file] = module
    return _files[file]


@contextlib.contextmanager
def _current_folder_first() -> Iterator[None]:
    """Find modules as `python -m` does, in a program that is started in another way."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def _failure(name: str, error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).name} line {last.lineno}"
    if isinstance(error, SyntaxError):
        place = f"{Path(error.filename or '').name} line {error.lineno}"
    ours = "importlib" in last.filename or "custom_code" in last.filename
    where = "" if ours and not isinstance(error, SyntaxError) else f" in {place}"
    return f"{name}: its code fails{where} ({type(error).__name__}: {one_line(error)})"
