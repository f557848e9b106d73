"""Params, values and gradients in float64, where a wrong constant shows."""

import math

import jax
import numpy as np
from programs import compiler_options

QUICK = compiler_options()


def draw(rng, shape):
    return rng.standard_normal(shape)


def starting_params(model):
    """A network's params as training starts with them, in float32."""
    images = np.zeros((2, 1, 8, 8, model.channels), np.float32)
    return jax.device_get(jax.jit(model.init)(jax.random.key(0), *images)["params"])


def draw_params(module, *inputs, **options):
    """Params in float64, of the size that training would give them, none of them 0 or 1."""
    rng = np.random.default_rng(1)
    structs = [jax.ShapeDtypeStruct(x.shape, np.float32) for x in inputs]
    variables = jax.eval_shape(lambda *x: module.init(jax.random.key(0), *x, **options), *structs)

    def leaf(path, struct):
        if len(struct.shape) > 1:
            return draw(rng, struct.shape) / math.sqrt(math.prod(struct.shape[:-1]))
        return 0.3 * draw(rng, struct.shape) + ("bias" not in path[-1].key)

    return jax.tree_util.tree_map_with_path(leaf, variables["params"])


def evaluate(function, *arguments):
    return jax.jit(function, compiler_options=QUICK)(*arguments)


def gradients(function, *arguments):
    """Gradients, with respect to all arguments, of one random projection of the function."""

    def run(*arguments):
        value, vjp = jax.vjp(function, *arguments)
        rng = np.random.default_rng(2)
        return vjp(jax.tree.map(lambda leaf: draw(rng, leaf.shape).astype(leaf.dtype), value))

    return evaluate(run, *arguments)


def assert_close(ours, expected, tolerance):
    """Every leaf within ``tolerance`` of its largest entry (of 1 if that is less)."""
    assert jax.tree.structure(ours) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype == np.float64
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1, abs(b).max()))
