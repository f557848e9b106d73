"""The network as Flax modules: pure functions of a params pytree."""
