"""Parts of the network: the release's, or custom ones by name (docs/changing_the_network.md)."""

import contextlib
import functools
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from cddfuse_jax.errors import InputError, one_line

FIELDS = ("block", "base", "detail", "merge")  # of `CDDFuse`: the parts that may be custom


class FunctionOf(nn.Module):
    """A function as a part of the network."""

    function: Callable

    def __call__(self, *features):
        """Call the function."""
        return self.function(*features)


def part(custom: str, default: type[nn.Module], **sizes: Any) -> nn.Module:
    """Return a part of the network: the custom one by its name, or the default for "".

    It gets those of ``sizes`` that are fields of its class.
    """
    kind: Any = load(custom) if custom else default
    if not isinstance(kind, type):
        kind, sizes["function"] = FunctionOf, kind
    known = kind.__dataclass_fields__
    return kind(**{field: value for field, value in sizes.items() if field in known})


def check_parts(model: Any) -> None:
    """Check what a `CDDFuse`'s custom parts return, by tracing each alone.

    Raises:
        InputError: a part cannot be loaded, or does not return one array of its input's shape and
            type, or keeps state.
    """
    shape, dtype = (1, 16, 24, model.features), jnp.dtype(model.dtype or jnp.float32)
    x = jax.ShapeDtypeStruct(shape, dtype)
    sizes = {"features": model.features, "heads": model.heads, "layers": model.coupling_layers}
    for field in FIELDS:
        name = getattr(model, field)
        if not name:
            continue
        inputs = (x, x) if field == "merge" else (x,)
        try:
            custom = part(name, nn.Module, **sizes, remat=model.remat)
            found, variables = jax.eval_shape(custom.init_with_output, jax.random.key(0), *inputs)
        except InputError:
            raise
        except Exception as error:  # whatever the user's code raises
            problem = f"it fails with {type(error).__name__}: {one_line(error)}"
        else:
            state = ", ".join(set(variables) - {"params"})
            if state:
                problem = f"it keeps {state}"
            elif not isinstance(found, jax.ShapeDtypeStruct):
                problem = f"it returns a {type(found).__name__}"
            elif (found.shape, found.dtype) != (shape, dtype):
                problem = f"it returns {found.dtype} of shape {found.shape}"
            else:
                continue
        raise InputError(
            f"config.model.{field}={name} must map {dtype} of shape {shape} to one array of the "
            f"same shape and type, without dropout or state as of BatchNorm; {problem}"
        )


def sources(model: Any) -> list[Path]:
    """Return the files of a `CDDFuse`'s custom parts, and of those they import beside them."""
    files: set[Path] = set()
    for name in filter(None, (getattr(model, field) for field in FIELDS)):
        own = Path(inspect.getfile(load(name))).resolve()
        loaded = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
        near = (Path(file).resolve() for file in loaded if file and file.endswith(".py"))
        files |= {own, *(file for file in near if file.parent == own.parent)}
    return sorted(files)


def load(name: str) -> Any:
    """Return a Linen module's class, or a function, by "MODULE:NAME" or "FILE.py:NAME".

    Modules are found in the current folder too. Loading runs the file.
    """
    place, colon, kind = name.rpartition(":")
    if not (place and colon and kind.isidentifier()):
        raise InputError(f"a custom part is MODULE:CLASS or FILE.py:CLASS, got {name!r}")
    module = _module(os.path.abspath(place) if place.endswith(".py") else place)
    found = getattr(module, kind, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)) and not (
        inspect.isfunction(found)
    ):
        raise InputError(
            f"{name}: {getattr(module, '__file__', place)} has no flax.linen.Module or function "
            f"of the name {kind}"
        )
    return found


@functools.cache
def _module(place: str) -> ModuleType:
    is_file = place.endswith(".py")
    folder = Path(place).parent if is_file else Path.cwd()
    if is_file and not Path(place).is_file():
        raise InputError(f"{place}: no such file")
    try:
        with _first_on_path(str(folder)):
            return _run_file(place) if is_file else importlib.import_module(place)
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{place}.".startswith(f"{missing}."):
            raise InputError(
                f"{place}: no such module in {folder} or among those installed; for a file "
                "elsewhere give FILE.py:CLASS"
            ) from None
        raise InputError(f"{_where(error)}: {type(error).__name__}: {one_line(error)}") from error


def _run_file(place: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(place, place)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[place] = module  # where dataclasses look for what annotations name
    spec.loader.exec_module(module)
    return module


def _where(error: Exception) -> str:
    """Return the file and line that failed to be imported."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    last = [frame for frame in frames if not frame.filename.startswith("<frozen")][-1]
    return f"{last.filename}:{last.lineno}"


@contextlib.contextmanager
def _first_on_path(folder: str) -> Iterator[None]:
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
