"""One update over every device of every process, mapped by shard_map or by pmap."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Shaped

from cddfuse_jax.errors import InputError
from cddfuse_jax.training.distributed import wait_for_all
from cddfuse_jax.training.update import TrainState

AXIS = "data"
Update = Callable[..., tuple[TrainState, dict[str, Float[Array, ""]]]]


class Devices:
    """All devices of all processes in one row, in which a batch is split and a state is repeated.

    The first rows of a batch go to the first process's first device, and so on, so that device
    number i gets the same rows however many processes share the devices. ``parallel`` is
    "shard_map" or "pmap"; ``devices`` are by default all there are.

    Attributes:
        mesh: the row of devices.
        replicated: the sharding of what every device has whole: states and metrics.

    Raises:
        InputError: the batch does not divide over devices and microbatches.
    """

    def __init__(
        self,
        parallel: str,
        batch_size: int,
        accumulate: int = 1,
        devices: Sequence[jax.Device] | None = None,
    ):
        devices = sorted(
            devices or jax.devices(), key=lambda device: (device.process_index, device.id)
        )
        if batch_size % (len(devices) * accumulate):
            raise InputError(
                "config.batch_size must be a multiple of devices times config.accumulate, got "
                f"{batch_size} for {len(devices)} devices times {accumulate}; change either"
            )
        self.parallel = parallel
        self.mesh = Mesh(np.asarray(devices), (AXIS,))
        self.replicated = NamedSharding(self.mesh, PartitionSpec())
        self._split = NamedSharding(self.mesh, PartitionSpec(AXIS))
        local = [device for device in devices if device.process_index == jax.process_index()]
        self._local = NamedSharding(Mesh(np.asarray(local), (AXIS,)), PartitionSpec())

    def __str__(self) -> str:
        count, kind = self.mesh.size, self.mesh.devices.flat[0].device_kind
        processes = jax.process_count()
        return f"{count} {kind} device{'s' * (count > 1)} of {processes} process" + (
            "es" * (processes > 1)
        )

    def build(self, make: Callable[[], Any]) -> Any:
        """Return the arrays that ``make()`` computes, whole on every device."""
        return jax.jit(make, out_shardings=self.replicated)()

    def shapes(self, make: Callable[[], Any]) -> Any:
        """Return shapes, types and sharding of what `build` would return."""
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self.replicated),
            jax.eval_shape(make),
        )

    def compiled(
        self, update: Update, state: TrainState, *images: Float[np.ndarray, "rows h w channels"]
    ) -> Update:
        """Compile `training.update.update`, all keyword arguments but ``axis`` bound, for all.

        The result takes the state as `build` places it, whose buffers it reuses, and this
        process's rows of the batch, ``images``; it returns the state after and the metrics, equal
        on all devices. All processes wait here for each other.
        """

        def parts(images):
            if self.parallel == "pmap":
                return [x.reshape(self._local.mesh.size, -1, *x.shape[1:]) for x in images]
            return images

        seen: tuple = (state, *map(self._placed, parts(images)))
        if self.parallel == "pmap":  # is compiled for one process's part, called with all
            seen = (_relabelled(state, self._local), *parts(images))
        program = self.jitted(update).lower(*seen).compile()
        # Where a process compiles for long, the others' first reduction would give up.
        wait_for_all()
        return lambda state, *images: program(state, *map(self._placed, parts(images)))

    def jitted(self, update: Update) -> Any:
        """Return the function that `compiled` compiles: to lower, and to read.

        With the state it takes whole (n, h, w, 1) batches under shard_map, and under pmap those
        of this process with a leading axis of its devices.
        """
        update = functools.partial(update, axis=AXIS)
        if self.parallel == "pmap":
            return jax.pmap(
                update,
                axis_name=AXIS,
                in_axes=(None, 0, 0),
                out_axes=None,
                devices=list(self.mesh.devices),
                donate_argnums=0,
            )
        split, whole = PartitionSpec(AXIS), PartitionSpec()
        mapped = jax.shard_map(
            update, mesh=self.mesh, in_specs=(whole, split, split), out_specs=whole
        )
        return jax.jit(mapped, donate_argnums=0)

    def _placed(
        self, rows: Float[np.ndarray, "*rows h w channels"]
    ) -> Float[Array, "*batch h w channels"]:
        return jax.make_array_from_process_local_data(self._split, rows)


def _relabelled(tree, sharding: NamedSharding):
    """Return replicated arrays, the very same buffers, as spread by another sharding."""

    def relabel(array: Shaped[Array, "*shape"]) -> Shaped[Array, "*shape"]:
        shards = [shard.data for shard in array.addressable_shards]
        return jax.make_array_from_single_device_arrays(array.shape, sharding, shards)

    return jax.tree.map(relabel, tree)
