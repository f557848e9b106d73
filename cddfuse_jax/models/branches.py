"""Parts of the network: the release's, or custom ones by name (docs/changing_the_network.md)."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from cddfuse_jax import custom_code
from cddfuse_jax.errors import InputError, one_line

PARTS = ("block", "base", "detail", "merge")  # of `CDDFuse`: the parts that may be custom


class FunctionOf(nn.Module):
    """A function as a part of the network."""

    function: Callable

    def __call__(self, *features):
        """Call the function."""
        return self.function(*features)


def part(custom: str, default: type[nn.Module], **sizes: Any) -> nn.Module:
    """Return a part of the network: the custom one by its name, or the default for "".

    A name is "MODULE:NAME" or "FILE.py:NAME", as `custom_code.load` takes it. The part gets those
    of ``sizes`` that are fields of its class.
    """
    kind: Any = _load(custom) if custom else default
    if not isinstance(kind, type):
        kind, sizes["function"] = FunctionOf, kind
    known = kind.__dataclass_fields__
    try:
        return kind(**{field: value for field, value in sizes.items() if field in known})
    except TypeError as error:  # a field without a default that is not one of the sizes
        raise InputError(
            f"{custom}: gets {', '.join(sizes)}, and its other fields need defaults "
            f"({one_line(error)})"
        ) from None


def check_parts(model: Any) -> None:
    """Check what a `CDDFuse`'s custom parts return, by tracing each alone.

    Raises:
        InputError: a part cannot be loaded, or does not return one array of its input's shape and
            type, or keeps state.
    """
    shape, dtype = (1, 16, 24, model.features), jnp.dtype(model.dtype or jnp.float32)
    x = jax.ShapeDtypeStruct(shape, dtype)
    sizes = {"features": model.features, "heads": model.heads, "layers": model.coupling_layers}
    for field in PARTS:
        name = getattr(model, field)
        inputs = (x, x) if field == "merge" else (x,)
        if name and (problem := _problem(part(name, nn.Module, **sizes, remat=True), *inputs)):
            raise InputError(
                f"config.model.{field}={name} must map {dtype} of shape {shape} to one array of "
                f"the same shape and type, without dropout or state as of BatchNorm; it {problem}"
            )


def _problem(custom: nn.Module, *inputs: jax.ShapeDtypeStruct) -> str:
    try:
        variables = jax.eval_shape(custom.init, jax.random.key(0), *inputs)
        if state := set(variables) - {"params"}:
            return f"keeps {', '.join(state)}"
        found = jax.eval_shape(custom.apply, variables, *inputs)
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        return f"fails with {type(error).__name__}: {one_line(error)}"
    if not isinstance(found, jax.ShapeDtypeStruct):
        return f"returns a {type(found).__name__}"
    alike = (found.shape, found.dtype) == (inputs[0].shape, inputs[0].dtype)
    return "" if alike else f"returns {found.dtype} of shape {found.shape}"


def sources(model: Any) -> list[Path]:
    """Return the files of a `CDDFuse`'s custom parts, and of those they import beside them."""
    files: set[Path] = set()
    for name in filter(None, (getattr(model, field) for field in PARTS)):
        own = custom_code.file_of(name).resolve()
        loaded = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
        near = (Path(file).resolve() for file in loaded if file and file.endswith(".py"))
        files |= {own, *(file for file in near if file.parent == own.parent)}
    return sorted(files)


def _load(name: str) -> Any:
    """Return a Linen module's class, or a function."""
    found = custom_code.load(name)
    is_module = isinstance(found, type) and issubclass(found, nn.Module)
    if not (is_module or (callable(found) and not isinstance(found, type))):
        raise InputError(f"a custom part is a flax.linen.Module or a function, got {name!r}")
    return found
