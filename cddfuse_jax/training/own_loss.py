"""Loss parts of the user's: ``config.loss.own``."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from cddfuse_jax import custom_code
from cddfuse_jax.errors import InputError, did_you_mean, one_line
from cddfuse_jax.models.convolutions import summing_dtype

Parts = dict[str, Float[Array, ""]]
OwnLoss = Callable[..., tuple[Float[Array, ""], Parts]]
TAKEN = (
    *("total", "fusion", "intensity", "gradient", "signed_gradient"),
    *("cc_base", "cc_detail", "decomposition"),
)


def own_loss(name: str, weights: str = "") -> OwnLoss:
    """Return (visible, infrared, fusion) to the weighted sum of the parts and the parts.

    Args:
        name: a function as "mine:terms" or "./mine.py:terms". It is given both images,
            (n, h, w, 1) in [0, 1], and the `models.cddfuse.Fusion` of them; it returns a dict of
            numbers, each a mean over the batch.
        weights: of the parts, as "edges=2,base=0.5"; 1 for those that are not named.

    Raises:
        InputError: from here or from the loss, when it is traced: what is wrong, in one line.
    """
    function, factors = custom_code.load(name), _weights(weights)
    if not callable(function):
        raise InputError(f"config.loss.own={name}: expected a function, got {function!r}")

    def loss(visible, infrared, fusion) -> tuple[Float[Array, ""], Parts]:
        try:
            parts = function(visible, infrared, fusion)
        except (Exception, SystemExit) as error:  # whatever the user's code raises
            raise InputError(
                f"config.loss.own={name}: fails ({type(error).__name__}: {one_line(error)})"
            ) from error
        if problem := _problem(parts, factors):
            raise InputError(f"config.loss.own={name}: {problem}")
        parts = {part: value.astype(summing_dtype(value)) for part, value in parts.items()}
        total = sum(
            (factors.get(part, 1.0) * value for part, value in parts.items()), jnp.zeros(())
        )
        return total, parts

    return loss


def _weights(text: str) -> dict[str, float]:
    found = {}
    for pair in filter(None, text.split(",")):
        part, _, number = pair.partition("=")
        try:
            found[part.strip()] = float(number)
        except ValueError:
            found[part.strip()] = -1.0
        if not 0 <= found[part.strip()] < float("inf"):
            raise InputError(
                "config.loss.own_weights must be PART=NUMBER,PART=NUMBER, each at least 0, "
                f"got {text!r}"
            )
    return found


def _problem(parts: Any, weights: dict[str, float]) -> str:
    if not isinstance(parts, dict) or not parts:
        return f"must return a dict of parts by name, got {type(parts).__name__}"
    for name, value in parts.items():
        if not isinstance(name, str) or "/" in name or name in TAKEN:
            return f"a part may not be called {name!r}; taken are {', '.join(TAKEN)}"
        if getattr(value, "shape", None) != () or not jnp.issubdtype(value.dtype, jnp.floating):
            got = f"{value.dtype}{value.shape}" if hasattr(value, "shape") else type(value).__name__
            return f"part {name!r} must be a floating-point scalar, got {got}; take jnp.mean of it"
    for name in weights:
        if name not in parts:
            return (
                f"config.loss.own_weights names {name!r}, the parts are {', '.join(parts)}"
                f"{did_you_mean(name, parts)}"
            )
    return ""
