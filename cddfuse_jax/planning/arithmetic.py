"""Counting the products of a traced function, with loops as often as they turn."""

import math
from collections.abc import Callable

import jax
from jax.extend import core


def flops(function: Callable, *arguments, platform: str = "tpu") -> float:
    """Return twice the multiply-adds of all products and dense convolutions.

    Args:
        function: of arrays.
        *arguments: shapes of its arguments, as ``jax.ShapeDtypeStruct``.
        platform: for which forms are counted, where a function has several.

    A depthwise convolution, written as a sum of shifted images, is elementwise: it does not count.
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr, platform)


def _count(jaxpr: core.Jaxpr, platform: str) -> float:
    total = 0.0
    chosen = _platform_branches(jaxpr, platform)
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            total += _product(equation)
        elif name == "conv_general_dilated":
            total += _convolution(equation)
        elif name == "scan":
            total += params["length"] * _count(params["jaxpr"].jaxpr, platform)
        elif name == "cond":
            selector = equation.invars[0]
            index = 0 if isinstance(selector, core.Literal) else chosen.get(selector, 0)
            total += _count(params["branches"][index].jaxpr, platform)
        else:
            for inner in _inner(params):
                total += _count(inner, platform)
    return total


def _platform_branches(jaxpr: core.Jaxpr, platform: str) -> dict:
    """Return which branch is the platform's, by the variable that selects it."""
    chosen: dict = {}
    for equation in jaxpr.eqns:
        if equation.primitive.name == "platform_index":
            names = equation.params["platforms"]
            chosen[equation.outvars[0]] = next(
                index for index, each in enumerate(names) if each is None or platform in each
            )
        elif equation.primitive.name in ("clamp", "convert_element_type", "pvary"):
            for source in equation.invars:
                if not isinstance(source, core.Literal) and source in chosen:
                    chosen[equation.outvars[0]] = chosen[source]
    return chosen


def _inner(params: dict) -> list[core.Jaxpr]:
    found = []
    for value in params.values():
        if isinstance(value, core.ClosedJaxpr):
            found.append(value.jaxpr)
        elif isinstance(value, core.Jaxpr):
            found.append(value)
    return found


def _product(equation) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    depth = math.prod(left[axis] for axis in contracted)
    return 2.0 * depth * math.prod(equation.outvars[0].aval.shape)


def _convolution(equation) -> float:
    kernel = equation.invars[1].aval.shape
    outputs = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    per_output = math.prod(kernel) / outputs
    return 2.0 * per_output * math.prod(equation.outvars[0].aval.shape)
