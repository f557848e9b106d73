"""Train CDDFuse in two stages.

    python -m cddfuse_jax.train --config=configs/roadscene.py --workdir=DIR [--config.FIELD=VALUE]

Started again with the same workdir, it goes on where it stopped. Ctrl-C saves and stops. All
devices are used; docs/pods.md tells how to use several machines.
"""

import argparse
import contextlib
import signal

from cddfuse_jax.console import ArgumentParser, report
from cddfuse_jax.distributed import address
from cddfuse_jax.files import alone_in, check_local
from cddfuse_jax.runtime.program import start


def main() -> int:
    """Read the arguments and train; 130 after Ctrl-C, 0 after SIGTERM: both leave a checkpoint."""
    parser = ArgumentParser(
        prog="python -m cddfuse_jax.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Every field of the config is an option: --config.batch_size=4, "
        "--config.data.crop=96, ... The fields and their meaning: cddfuse_jax/config/fields.py.",
    )
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE",
        help="a config file, or the name of one that comes with the package, such as ivf",
    )
    parser.add_argument(
        "--workdir",
        required=True,
        metavar="DIR",
        help="takes checkpoints, TensorBoard scalars and pictures",
    )
    parser.add_argument(
        "--profile_steps",
        type=_steps,
        metavar="FIRST:LAST",
        help="write a trace of these updates, counted from 1, to DIR/profile",
    )
    address.add_options(parser)
    arguments, overrides = parser.parse_known_args()
    for argument in overrides:
        if not (argument.startswith("--config.") and "=" in argument):
            parser.error(
                f"unexpected argument {argument!r}; fields are set by --config.FIELD=VALUE"
            )
    from cddfuse_jax.config import load

    config = load(arguments.config, overrides)
    check_local(arguments.workdir)

    from cddfuse_jax.distributed import processes
    from cddfuse_jax.runtime import compilation_cache
    from cddfuse_jax.training.run import train_and_evaluate

    compilation_cache.enable()
    same = {"configuration": config.to_json()}
    with processes.joined(address.given_address(arguments), run=same):
        stop = processes.StopSignal()
        # Processes of one run share the folder: one of them keeps other runs out.
        first = processes.is_first()
        with alone_in(arguments.workdir, "train") if first else contextlib.nullcontext():
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
    start(main)
