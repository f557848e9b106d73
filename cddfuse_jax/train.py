"""Train CDDFuse in two stages.

    python -m cddfuse_jax.train --config=configs/roadscene.py --workdir=DIR [--config.FIELD=VALUE]

Started again with the same workdir, it goes on where it stopped. Ctrl-C saves and stops. All
devices are used; for several machines see docs/pods.md.
"""

import argparse
import contextlib
import signal
import sys

from cddfuse_jax.console import ArgumentParser, report, run
from cddfuse_jax.files import alone_in, check_local


def main() -> int:
    """Read the arguments and train; 130 after Ctrl-C, 0 after SIGTERM: both leave a checkpoint."""
    parser = ArgumentParser(
        prog="python -m cddfuse_jax.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Every field of the config is an option: --config.batch_size=4, "
        "--config.data.crop=96, ... --help-fields prints them all.",
    )
    add = parser.add_argument
    add("--config", required=True, metavar="FILE",
        help="a config file, or the name of one in the package, such as ivf")  # fmt: skip
    add("--workdir", required="--help-fields" not in sys.argv, metavar="DIR",
        help="takes checkpoints, TensorBoard scalars and images")  # fmt: skip
    add("--help-fields", action="store_true",
        help="print the config's fields with values, meanings and ranges, and exit")  # fmt: skip
    add("--profile_steps", type=_steps, metavar="FIRST:LAST",
        help="write a trace of these updates, counted from 1, to DIR/profile")  # fmt: skip
    group = parser.add_argument_group("several processes (docs/pods.md)")
    group.add_argument("--coordinator", metavar="HOST:PORT",
        help="of process 0, where neither a TPU pod nor Slurm names it")  # fmt: skip
    group.add_argument(
        "--num_processes", type=int, metavar="N", help="with --coordinator: how many"
    )
    group.add_argument("--process_id", type=int, metavar="I",
        help="with --coordinator: which of them this is, from 0")  # fmt: skip
    arguments, overrides = parser.parse_with_fields()
    from cddfuse_jax.config import load, table

    config = load(arguments.config, overrides)
    if arguments.help_fields:
        print(table(config))
        return 0
    check_local(arguments.workdir)

    from cddfuse_jax.devices import keep_compiled
    from cddfuse_jax.training import distributed
    from cddfuse_jax.training.run import train_and_evaluate

    keep_compiled()
    address = distributed.Address(
        arguments.coordinator, arguments.num_processes, arguments.process_id
    )
    with distributed.joined(address, config.to_json()):
        stop = distributed.StopSignal()
        # Processes of one run share the folder: one of them keeps other runs out.
        alone = alone_in(arguments.workdir, "train")
        with alone if distributed.is_first() else contextlib.nullcontext():
            state = train_and_evaluate(config, arguments.workdir, stop, arguments.profile_steps)
    if stop.received is None:
        return 0
    report(f"stopped after step {int(state.step)}, saved; the same command goes on from there")
    return 130 if stop.received == signal.SIGINT else 0


def _steps(text: str) -> tuple[int, int]:
    first, _, last = text.partition(":")
    if not (first.isdigit() and last.isdigit() and 1 <= int(first) <= int(last)):
        raise argparse.ArgumentTypeError(f"two updates counted from 1, such as 10:15, got {text!r}")
    return int(first), int(last)


if __name__ == "__main__":
    run(main)
