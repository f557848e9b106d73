"""Signatures say the shapes of arrays: under pytest they are checked, elsewhere nothing is."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from array_checks import tells_of_arrays
from jaxtyping import Array, Float, TypeCheckError

import cddfuse_jax
from cddfuse_jax.metrics.windows import filtered
from cddfuse_jax.models.cddfuse import CDDFuse, select_residual
from cddfuse_jax.models.convolutions import conv1x1, pad
from cddfuse_jax.training.losses import ssim_loss

PACKAGE = Path(cddfuse_jax.__file__).parent
ROOMS = ("models", "training", "decomposition", "metrics", "fusing")


def test_an_argument_of_another_shape_or_type_is_refused():
    image = jnp.zeros((1, 12, 12, 1))
    with pytest.raises(TypeCheckError, match="kernel"):
        conv1x1(image, jnp.zeros((2, 4)))
    with pytest.raises(TypeCheckError, match="parameter 'b'"):
        ssim_loss(image, image[:, 1:])
    with pytest.raises(TypeCheckError, match="parameter 'x'"):
        pad(jnp.zeros((1, 2, 3, 4), int))
    with pytest.raises(TypeCheckError, match="parameter 'window'"):
        filtered(np.zeros((3, 3)), np.ones((3, 3)))
    with pytest.raises(TypeCheckError, match="channels"):
        CDDFuse(channels=3).apply({}, image, method="encode")


def test_a_result_of_another_shape_is_refused(monkeypatch):
    monkeypatch.setattr(jnp, "pad", lambda x, *_, **__: x)
    with pytest.raises(TypeCheckError, match="return value"):
        pad(jnp.zeros((1, 2, 3, 4)))


def test_only_arrays_are_checked():
    assert tells_of_arrays(Float[Array, "n"] | None)
    assert tells_of_arrays(tuple[dict[str, Float[np.ndarray, ""]], ...])
    assert not tells_of_arrays(dict[str, tuple[int, ...]])
    image = jnp.zeros((1, 2, 3, 4))
    with pytest.raises(ValueError, match="residual must be one of"):  # said by the function
        select_residual("both", image, image)


def test_nothing_is_checked_in_programs():
    code = """
import sys
import cddfuse_jax.metrics
print("jaxtyping" in sys.modules)
import jax.numpy as jnp
from cddfuse_jax.models.convolutions import pad
print(pad(jnp.zeros((1, 2, 3, 4), int)).shape)
print(hasattr(pad, "__wrapped__"), "beartype" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "False\n(1, 4, 5, 4)\nFalse False\n", done.stderr


@pytest.mark.parametrize("room", ROOMS)
def test_signatures_say_shapes(room):
    bare = []
    for file in sorted((PACKAGE / room).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                annotations = [*(each.annotation for each in arguments), node.returns]
                for annotation in filter(None, annotations):
                    text = re.sub(r"\b[A-Z]\w+\[[\w.| ]+, '[^']*'\]", "", ast.unparse(annotation))
                    if re.search(r"\b(Any)?Array\b|\bndarray\b", text):
                        bare.append(f"{file.name}: {node.name}: {text}")
    assert bare == [], "say the shape, as in Float[np.ndarray, 'h w']"
