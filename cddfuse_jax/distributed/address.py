"""Where the processes of a run meet, as the options of a command say."""

import argparse
from typing import NamedTuple


class Address(NamedTuple):
    """Where the processes of a run meet, given by flags where no cluster tells.

    Attributes:
        coordinator: HOST:PORT of process 0, the same for all.
        num_processes: how many there are.
        process_id: which this one is, from 0.
    """

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


ALONE = Address()


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `given_address` reads."""
    group = parser.add_argument_group("several processes (docs/pods.md)")
    for field, kind, metavar, description in (
        ("coordinator", str, "HOST:PORT", "of process 0, where neither a TPU pod nor Slurm tells"),
        ("num_processes", int, "N", "with --coordinator: how many processes work together"),
        ("process_id", int, "I", "with --coordinator: which of them this is, from 0"),
    ):
        group.add_argument(f"--{field}", type=kind, metavar=metavar, help=description)


def given_address(arguments: argparse.Namespace) -> Address:
    """Return what the options of `add_options` say."""
    return Address(arguments.coordinator, arguments.num_processes, arguments.process_id)
