"""Programs compiled for TPUs that are not there: what one takes of a chip, by the compiler."""

import contextlib
import functools
import importlib.util
import os
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding
from ml_collections import ConfigDict

from cddfuse_jax.errors import InputError, install, one_line
from cddfuse_jax.models import Precision
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.models.derivatives import implementations_for
from cddfuse_jax.models.precision import computed, features_dtype
from cddfuse_jax.training.hlo import totals
from cddfuse_jax.training.parallel import AXIS, Devices
from cddfuse_jax.training.recipe import make_model, make_optimizers, make_stages
from cddfuse_jax.training.update import init_params, init_state, update

STAGES = ("reconstruction", "fusion")
# libtpu asks the machine that it is on what it is part of, and wants to be alone on it.
_OF_LIBTPU = {
    "TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "TPU_MIN_LOG_LEVEL": "3", "TPU_STDERR_LOG_LEVEL": "3",
}  # fmt: skip


class OutOfMemoryError(InputError):
    """The program does not fit the memory of a device."""

    exit_code = 1


def topology(name: str) -> list[jax.Device]:
    """Return the devices of a topology, such as "v5e:4x4", for which programs can be compiled.

    To be called before JAX has looked for devices of its own: it uses the CPU from then on.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(f"planning needs TPU's compiler, libtpu: {install('plan')}")
    for variable, value in _OF_LIBTPU.items():
        os.environ.setdefault(variable, value)
    jax.config.update("jax_platforms", "cpu")
    # A v4 chip's two cores are one device of JAX, as they are on Cloud TPUs.
    options = {"chip_config_name": "megacore"} if name.startswith("v4:") else {}
    try:
        with _without_standard_error():  # libtpu says that this machine has no TPU
            found = topologies.get_topology_desc(platform="tpu", topology_name=name, **options)
    except Exception as error:
        raise InputError(
            "--topology is a chip and the slice's sides, as v5e:4x4, v6e:2x4 or v5p:2x2x2, got "
            f"{name!r} ({one_line(error)})"
        ) from None
    return list(found.devices)


@contextlib.contextmanager
def _without_standard_error() -> Iterator[None]:
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def training_update(
    config: ConfigDict, devices: Sequence[jax.Device], stage: str, pairs: int, side: int
) -> dict[str, Any]:
    """Compile the update that `train` makes in ``stage``, on ``pairs`` square patches a device."""
    model = make_model(config)
    mapping = Devices("shard_map", pairs * len(devices), config.accumulate, devices)
    optimizers = make_optimizers(config, steps_per_epoch=1000)  # only compares numbers
    state = mapping.shapes(
        lambda: init_state(init_params(model, jax.random.key(0)), optimizers, ema=config.ema > 0)
    )
    bound = functools.partial(
        update, stage=make_stages(config, model)[STAGES.index(stage)], optimizers=optimizers,
        ema=config.ema, accumulate=config.accumulate,
    )  # fmt: skip

    split = NamedSharding(mapping.mesh, PartitionSpec(AXIS))
    images = _shaped((pairs * len(devices), side, side, 1), split)
    function = mapping.jitted(computed(bound, config.precision))
    return _compiled(function, (state, images, images), pairs)


def fusing(
    model: CDDFuse, device: jax.Device, precision: Precision, pairs: int, height: int, width: int
) -> dict[str, Any]:
    """Compile the fusing of ``pairs`` pairs of one size at a time, for one device."""
    model = model.clone(dtype=features_dtype(precision))
    whole = SingleDeviceSharding(device)
    params = jax.tree.map(
        lambda leaf: _shaped(leaf.shape, whole),
        jax.eval_shape(lambda: init_params(model, jax.random.key(0))),
    )
    images = _shaped((pairs, height, width, 1), whole)

    def fuse(params, visible, infrared):
        return model.apply({"params": params}, visible, infrared, method="fuse")

    return _compiled(jax.jit(computed(fuse, precision)), (params, images, images), pairs)


def _shaped(shape: tuple[int, ...], sharding: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)


def _compiled(function: Any, arguments: tuple, pairs: int) -> dict[str, Any]:
    """Return what the compiler says, for one device; `OutOfMemoryError` where it does not fit."""
    with implementations_for("tpu"):
        lowered, began = function.lower(*arguments), time.perf_counter()
    try:
        program = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        used = re.search(r"Used (\S+) of (\S+) hbm", str(error))
        what = f"needs {used[1]}iB of {used[2]}iB" if used else one_line(error)
        raise OutOfMemoryError(
            f"{pairs} pairs a chip do not fit: {what}; give fewer by --per_chip_batch, or compute "
            "them one after the other by --config.accumulate"
        ) from None
    sizes = program.memory_analysis()
    memory = {
        "arguments": sizes.argument_size_in_bytes,
        "outputs": sizes.output_size_in_bytes - sizes.alias_size_in_bytes,
        "temporary": sizes.temp_size_in_bytes,
        "code": sizes.generated_code_size_in_bytes,
    }
    moved, cycles, collectives = totals(program.as_text())
    return {
        "compiling_seconds": round(time.perf_counter() - began, 1),
        "memory": memory,
        "bytes_moved": moved,
        "compilers_cycles": cycles,
        "collectives": collectives,
    }
