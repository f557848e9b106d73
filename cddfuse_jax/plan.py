"""Estimate the memory of a TPU by compiling for it; no TPU is needed.

    python -m cddfuse_jax.plan --config=ivf --topology v5e:4x4 --per_chip_batch 32

Prints what the compiler says of one chip (docs/pods.md).
"""

import argparse
import functools
import importlib.util
import math
import os
import re

from cddfuse_jax.console import ArgumentParser, run
from cddfuse_jax.errors import InputError, install, one_line

STAGES = ("reconstruction", "fusion")
LIBTPU = {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost",
          "TPU_ACCELERATOR_TYPE": "v5litepod-4", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}  # fmt: skip


def main() -> None:
    """Read the arguments, compile, and print the figures."""
    parser = ArgumentParser(
        prog="python -m cddfuse_jax.plan",
        description=__doc__.splitlines()[0],
        epilog="Every field of the config is an option, as for train: --config.precision=bf16, ...",
    )
    add = parser.add_argument
    add("--config", required=True, metavar="FILE", help="as for train")
    add("--topology", required=True, metavar="CHIP:SIDES",
        help="the slice, such as v5e:4x4, v6e:2x4, v5p:2x2x2 or v4:2x2x2")  # fmt: skip
    add("--per_chip_batch", type=int, metavar="N",
        help="pairs on a chip; default: config.batch_size over the chips, 1 to fuse")  # fmt: skip
    add("--stage", choices=STAGES, default="fusion", help="default: fusion, the longer one")
    add("--fuse", type=_size, metavar="HEIGHTxWIDTH",
        help="compile the fusing of pairs of this size instead of an update")  # fmt: skip
    given, overrides = parser.parse_with_fields()

    from cddfuse_jax.config import check, load

    check(config := load(given.config, overrides))
    devices = topology(given.topology)
    from cddfuse_jax.models.derivatives import implementations_for

    pairs = given.per_chip_batch or (1 if given.fuse else config.batch_size // len(devices))
    if pairs < 1:
        raise InputError(f"a chip takes 1 pair or more, got {pairs}; give --per_chip_batch")
    if given.fuse:
        what = "fusing pairs of {}x{}".format(*given.fuse)
        with implementations_for("tpu"):
            lowered = fusing(config, devices[0], pairs, *given.fuse)
    else:
        side = config.data.crop or 128
        what = f"an update of stage {given.stage} on patches of {side}x{side}"
        with implementations_for("tpu"):
            lowered = training_update(config, devices, given.stage, pairs, side)
    what += f", {config.precision}, {pairs} pairs a chip, {given.topology}"
    print(what, figures(lowered, pairs), sep="\n")


def topology(name: str) -> list:
    """Return the devices of a topology, such as "v5e:4x4"; JAX uses the CPU from then on."""
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(f"planning needs TPU's compiler, libtpu: {install('plan')}")
    os.environ.update(LIBTPU)
    import jax
    from jax.experimental import topologies

    jax.config.update("jax_platforms", "cpu")
    # A v4 chip's two cores are one device of JAX, as they are on Cloud TPUs.
    options = {"chip_config_name": "megacore"} if name.startswith("v4:") else {}
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=name, **options)
    except Exception as error:
        rule = "--topology is a chip and the slice's sides, as v5e:4x4, v6e:2x4 or v5p:2x2x2, got "
        raise InputError(f"{rule}{name!r} ({one_line(error)})") from None
    return list(found.devices)


def training_update(config, devices: list, stage: str, pairs: int, side: int):
    """Lower the update that `train` makes in ``stage``, on ``pairs`` square patches a device."""
    import jax

    from cddfuse_jax.models.precision import computed
    from cddfuse_jax.training import parallel, recipe, update

    model, count = recipe.make_model(config), pairs * len(devices)
    mapping = parallel.Devices("shard_map", count, config.accumulate, devices)
    optimizers = recipe.make_optimizers(config, steps_per_epoch=1000)  # only compares numbers
    params = functools.partial(update.init_params, model, jax.random.key(0))
    state = mapping.shapes(lambda: update.init_state(params(), optimizers, ema=config.ema > 0))
    step = functools.partial(
        update.update, stage=recipe.make_stages(config, model)[STAGES.index(stage)],
        optimizers=optimizers, ema=config.ema, accumulate=config.accumulate,
    )  # fmt: skip
    split = jax.NamedSharding(mapping.mesh, jax.P(parallel.AXIS))
    images = jax.ShapeDtypeStruct((count, side, side, 1), "float32", sharding=split)
    return mapping.jitted(computed(step, config.precision)).lower(state, images, images)


def fusing(config, device, pairs: int, height: int, width: int):
    """Lower the fusing of ``pairs`` pairs of one size at a time, for one device."""
    import jax

    from cddfuse_jax.models.precision import computed, features_dtype
    from cddfuse_jax.training import recipe, update

    model = recipe.make_model(config).clone(dtype=features_dtype(config.precision))
    params = jax.eval_shape(lambda: update.init_params(model, jax.random.key(0)))
    images = jax.ShapeDtypeStruct((pairs, height, width, 1), "float32")
    where = jax.sharding.SingleDeviceSharding(device)
    shapes = jax.tree.map(
        lambda leaf: leaf.update(sharding=where), ({"params": params}, images, images)
    )
    fuse = functools.partial(model.apply, method="fuse")
    return jax.jit(computed(fuse, config.precision)).lower(*shapes)


def figures(lowered, pairs: int) -> str:
    """Compile, and return what the compiler says of one device in three lines."""
    import jax

    try:
        program = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        raise InputError(
            f"{pairs} pairs a chip do not compile ({one_line(error)}); where memory is short, give "
            "fewer, or --config.accumulate to compute them one after the other"
        ) from None
    size, cost = program.memory_analysis(), program.cost_analysis()
    kept = size.argument_size_in_bytes + size.output_size_in_bytes - size.alias_size_in_bytes
    temporary, code = size.temp_size_in_bytes, size.generated_code_size_in_bytes
    reductions = re.findall(r" = (.*) all-reduce(?:-start)?\(", program.as_text())
    shapes = re.findall(r"f32\[([\d,]*)\]", " ".join(reductions))
    sent = 4 * sum(math.prod(int(side) for side in shape.split(",") if side) for shape in shapes)
    return (
        f"memory: {(kept + temporary + code) / 2**30:.2f} GiB (arguments and outputs "
        f"{kept / 2**30:.2f}, temporary {temporary / 2**30:.2f}, program {code / 2**30:.2f})\n"
        f"sent: {sent} bytes in {len(reductions)} collectives\n"
        f"cost, each loop once: {cost['flops'] / 1e9:.3g} Gflop, "
        f"{cost['bytes accessed'] / 1e9:.3g} GB, {1e3 * cost['optimal_seconds']:.3g} ms"
    )


def _size(text: str) -> tuple[int, int]:
    if not (found := re.fullmatch(r"(\d+)x(\d+)", text)):
        raise argparse.ArgumentTypeError(f"a height and a width, as 480x640, got {text!r}")
    return int(found[1]), int(found[2])


if __name__ == "__main__":
    run(main)
