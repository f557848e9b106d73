"""Say what training or fusing takes on TPUs that are not there, by compiling for them.

    python -m cddfuse_jax.plan --config=ivf --topology v5e:4x4 --per_chip_batch 32

Does it fit, what is sent, what bounds it, how many pairs a second: docs/pods.md shows how to read
it. Nothing is run, and no TPU is needed: TPU's compiler installs on any Linux machine.
"""

import argparse
import json
from pathlib import Path

from cddfuse_jax.console import ArgumentParser
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import replacing
from cddfuse_jax.runtime.program import start

CHIPS = (8, 16, 32, 64, 128, 256)


def main() -> None:
    """Read the arguments, compile, print the table and write the JSON."""
    parser = ArgumentParser(
        prog="python -m cddfuse_jax.plan",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Every field of the config is an option, as for train: --config.precision=bf16, ...",
    )
    add = parser.add_argument
    add("--config", required=True, metavar="FILE", help="as for train")
    add("--topology", required=True, metavar="CHIP:SIDES",
        help="the slice, such as v5e:4x4, v6e:2x4, v5p:2x2x2 or v4:2x2x2")  # fmt: skip
    add("--per_chip_batch", type=_positive, metavar="N",
        help="pairs on a chip; default: config.batch_size over the chips, 1 to fuse")  # fmt: skip
    add("--stage", choices=("reconstruction", "fusion"), default="fusion",
        help="whose update; default: fusion, the longer stage")  # fmt: skip
    add("--fuse", type=_size, metavar="HEIGHTxWIDTH",
        help="compile the fusing of pairs of this size instead of an update")  # fmt: skip
    add("--chips", type=_counts, default=CHIPS, metavar="N,...",
        help="slices to predict for; default: 8,16,32,64,128,256")  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="write everything to FILE")
    add("--overwrite", action="store_true", help="replace FILE if it exists")
    given, overrides = parser.parse_known_args()
    for argument in overrides:
        if not (argument.startswith("--config.") and "=" in argument):
            parser.error(
                f"unexpected argument {argument!r}; fields are set by --config.FIELD=VALUE"
            )
    if given.json and given.json.exists() and not given.overwrite:
        raise InputError(f"{given.json} exists already; give another name or --overwrite")

    from cddfuse_jax.config import load
    from cddfuse_jax.planning import programs, report, topology
    from cddfuse_jax.runtime.chips import chip_of
    from cddfuse_jax.training.recipe import make_model

    config = load(given.config, overrides)
    model = make_model(config)
    devices = topology.devices(given.topology)
    chip = chip_of(devices[0].device_kind)
    if chip is None:
        raise InputError(f"no figures are known here of {devices[0].device_kind}")
    if given.fuse:
        what = f"fusing {given.fuse[0]}x{given.fuse[1]}"
        program = programs.fusing(
            model, devices[0], config.precision, given.per_chip_batch or 1, *given.fuse
        )
    else:
        pairs = given.per_chip_batch or config.batch_size // len(devices)
        if not pairs:
            raise InputError(
                f"config.batch_size={config.batch_size} does not fill {len(devices)} chips; give "
                "--per_chip_batch or a smaller topology"
            )
        side = config.data.crop or 128
        what = f"an update of stage {given.stage} on patches of {side}x{side}"
        program = programs.training_update(config, devices, given.stage, pairs, side)
    chips = [1] if given.fuse else sorted({len(devices), *given.chips})
    plan = report.as_json(program, chip, given.topology, config.precision, chips, what)
    if given.json:
        with replacing(given.json) as temporary:
            temporary.write_text(json.dumps(plan, indent=1) + "\n")
    print(report.as_text(plan))


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a number from 1 up, got {text!r}")
    return int(text)


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_positive(each) for each in text.split(","))


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return _positive(height), _positive(width)


if __name__ == "__main__":
    start(main)
