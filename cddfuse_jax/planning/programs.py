"""The programs that `train` and `fuse` would run, compiled for devices that are not there."""

import functools
import re
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from cddfuse_jax.errors import InputError, one_line
from cddfuse_jax.models.arithmetic import multiply_adds, update_flops
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.models.options import Precision
from cddfuse_jax.models.precision import computed, features_dtype
from cddfuse_jax.planning import arithmetic, hlo
from cddfuse_jax.training.devices import AXIS, Devices
from cddfuse_jax.training.recipe import make_model, make_optimizers, make_stages
from cddfuse_jax.training.update import init_params, init_state, update

STAGES = ("reconstruction", "fusion")


class OutOfMemoryError(InputError):
    """The program does not fit the memory of a device."""

    exit_code = 1


class Program(NamedTuple):
    """What the compiler says of a program, for one of its devices.

    Attributes:
        pairs: of images, that one device works on.
        memory: bytes by kind: "arguments", "outputs", "temporary", "code".
        needed_flops: of the arithmetic that the method needs, without what is computed again.
        flops: that the traced program makes in products, with what is computed again.
        totals: of the compiled program.
        xla: flops and bytes as XLA's cost analysis has them, loops counted once.
        seconds: that compiling took.
        cpu_seconds: of it, on all cores together. Beside other programs the former say little.
    """

    pairs: int
    memory: dict[str, int]
    needed_flops: float
    flops: float
    totals: hlo.Totals
    xla: dict[str, float]
    seconds: float
    cpu_seconds: float


def training_update(
    config: ConfigDict, devices: Sequence[jax.Device], stage: str, per_chip: int, side: int
) -> Program:
    """Compile the update that `train` makes in ``stage``, for patches of ``side`` by ``side``.

    Raises:
        InputError: the config cannot be used, or the batch does not divide.
        OutOfMemoryError: it does not fit.
    """
    model = make_model(config)
    batch = per_chip * len(devices)
    mapping = Devices("shard_map", batch, config.accumulate, devices)
    optimizers = make_optimizers(config, steps_per_epoch=1000)  # only compares numbers
    bound = functools.partial(
        update,
        stage=make_stages(config, model)[STAGES.index(stage)],
        optimizers=optimizers,
        ema=config.ema,
        accumulate=config.accumulate,
    )

    def first_state():
        return init_state(init_params(model, jax.random.key(0)), optimizers, ema=config.ema > 0)

    state = mapping.shapes(first_state)
    split = NamedSharding(mapping.mesh, PartitionSpec(AXIS))
    images = jax.ShapeDtypeStruct((batch, side, side, 1), jnp.float32, sharding=split)
    function = mapping.jitted(computed(bound, config.precision))
    share = jax.ShapeDtypeStruct((per_chip, side, side, 1), jnp.float32)
    needed = update_flops(model, stage, per_chip * side * side)
    flops = arithmetic.flops(bound, jax.eval_shape(first_state), share, share)
    return _compiled(function, (state, images, images), per_chip, needed, flops)


def fusing(
    model: CDDFuse, device: jax.Device, precision: Precision, pairs: int, height: int, width: int
) -> Program:
    """Compile the fusing of ``pairs`` pairs of one size at a time, for one device.

    Raises:
        OutOfMemoryError: it does not fit.
    """
    model = model.clone(dtype=features_dtype(precision))
    whole = NamedSharding(Mesh([device], (AXIS,)), PartitionSpec())

    def shaped(leaf) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole)

    params = jax.tree.map(shaped, jax.eval_shape(lambda: init_params(model, jax.random.key(0))))
    images = shaped(jax.ShapeDtypeStruct((pairs, height, width, 1), jnp.float32))

    def fuse(params, visible, infrared):
        return model.apply({"params": params}, visible, infrared, method="fuse")

    function = jax.jit(computed(fuse, precision))
    needed = 2.0 * multiply_adds(model).fuse * pairs * height * width
    flops = arithmetic.flops(fuse, params, images, images)
    return _compiled(function, (params, images, images), pairs, needed, flops)


def _compiled(function: Any, arguments: tuple, pairs: int, needed: float, flops: float) -> Program:
    lowered = function.lower(*arguments)
    began, cpu_began = time.perf_counter(), time.process_time()
    try:
        program = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise OutOfMemoryError(
            f"{pairs} pairs a chip do not fit: {_out_of_memory(str(error))}; give fewer by "
            "--per_chip_batch, or compute them one after the other by --config.accumulate"
        ) from None
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    sizes, costs = program.memory_analysis(), program.cost_analysis()
    memory = {
        "arguments": sizes.argument_size_in_bytes,
        "outputs": sizes.output_size_in_bytes - sizes.alias_size_in_bytes,
        "temporary": sizes.temp_size_in_bytes,
        "code": sizes.generated_code_size_in_bytes,
    }
    xla = {"flops": costs.get("flops", 0.0), "bytes": costs.get("bytes accessed", 0.0)}
    text = program.as_text()
    totals = hlo.totals(text)
    return Program(pairs, memory, needed, flops, totals, xla, seconds, cpu_seconds)


def _out_of_memory(message: str) -> str:
    used = re.search(r"Used (\S+) of (\S+) hbm", message)
    return f"needs {used[1]}iB of {used[2]}iB" if used else one_line(message)
