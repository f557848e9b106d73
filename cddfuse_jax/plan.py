"""Say what training or fusing takes on TPUs that are not there, by compiling for them.

    python -m cddfuse_jax.plan --config=ivf --topology v5e:4x4 --per_chip_batch 32

Does it fit, what is sent, the bytes moved and the compiler's own estimate of cycles (docs/pods.md).
Nothing is run, and no TPU is needed: TPU's compiler installs on any Linux machine.
"""

import argparse
import json
from pathlib import Path

from cddfuse_jax.console import ArgumentParser, add_overwrite, report, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import check_outputs, replacing

PIECES = (0, 2, 4, 8)


def main() -> None:
    """Read the arguments, compile, print the figures and write the JSON."""
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
    add("--pieces", action="store_true",
        help="compile an update with config.piece of 0, 2, 4 and 8, print the best's")  # fmt: skip
    add("--fuse", type=_size, metavar="HEIGHTxWIDTH",
        help="compile the fusing of pairs of this size instead of an update")  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    add_overwrite(parser)
    given, overrides = parser.parse_with_fields()
    if given.json:
        check_outputs([given.json], (), given.overwrite)

    from cddfuse_jax.config import check, load
    from cddfuse_jax.training import planned
    from cddfuse_jax.training.recipe import make_model

    config = load(given.config, overrides)
    check(config)
    devices = planned.topology(given.topology)
    if given.fuse:
        what, pairs = f"fusing {given.fuse[0]}x{given.fuse[1]}", given.per_chip_batch or 1
        program = planned.fusing(
            make_model(config), devices[0], config.precision, pairs, *given.fuse
        )
    else:
        pairs = given.per_chip_batch or config.batch_size // len(devices)
        if not pairs:
            raise InputError(
                f"config.batch_size={config.batch_size} does not fill {len(devices)} chips; give "
                "--per_chip_batch or a smaller topology"
            )
        side = config.data.crop or 128
        program = _best_update(
            lambda: planned.training_update(config, devices, given.stage, pairs, side),
            config,
            PIECES if given.pieces else (config.piece,),
        )
        what = f"an update of stage {given.stage} on patches of {side}x{side}"
        what += f" in pieces of {config.piece}" if config.piece else ""
    what = f"{what}, {config.precision}, {pairs} pairs a chip, {given.topology}"
    if given.json:
        with replacing(given.json) as temporary:
            temporary.write_text(json.dumps({"what": what} | program, indent=1) + "\n")
    sizes = {kind: size / 2**30 for kind, size in program["memory"].items()}
    sent = [size for _, size in program["collectives"]]
    print(
        f"{what} (compiled in {program['compiling_seconds']:.0f} s)\n"
        f"fits: {sum(sizes.values()):.2f} GiB (arguments {sizes['arguments']:.2f}, "
        f"temporary {sizes['temporary']:.2f}, program {sizes['code']:.2f})\n"
        f"sent: {sum(sent) / 1e6:.2f} MB in {len(sent)} collectives\n"
        f"moved: {program['bytes_moved'] / 1e9:.1f} GB of main memory, padding included\n"
        f"instructions: {program['compilers_cycles'] / 1e6:.0f} million cycles by the compiler"
    )


def _best_update(compiled, config, pieces: tuple[int, ...]) -> dict:
    """Return the figures with that ``config.piece``, and set it, which takes the fewest cycles."""
    from cddfuse_jax.training.planned import OutOfMemoryError

    found = {}
    for config.piece in pieces:
        try:
            found[config.piece] = compiled()
        except OutOfMemoryError as error:
            if len(pieces) == 1:
                raise
            report(f"config.piece={config.piece}: {error}")
        else:
            millions = found[config.piece]["compilers_cycles"] / 1e6
            report(f"config.piece={config.piece}: {millions:.0f} million cycles")
    if not found:
        raise InputError("with no config.piece does this update fit; give a smaller batch")
    cycles = {piece: program["compilers_cycles"] for piece, program in found.items()}
    config.piece = min(cycles, key=cycles.__getitem__)
    return found[config.piece] | {"cycles_by_piece": cycles}


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a number from 1 up, got {text!r}")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return _positive(height), _positive(width)


if __name__ == "__main__":
    run(main)
