"""How the processes of a run find each other: our own hub, and JAX's runtime through it."""

import json
import os
import secrets
import socket
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

import cddfuse_jax
from cddfuse_jax.distributed.address import Address
from cddfuse_jax.distributed.clusters import on_tpu, slurm_address
from cddfuse_jax.distributed.member import Member
from cddfuse_jax.distributed.messages import KEY, free_port
from cddfuse_jax.errors import InputError, one_line


def _versions() -> dict[str, str]:
    own, theirs = cddfuse_jax.__version__, jax.__version__
    return {"version of cddfuse-jax": own, "version of JAX": theirs}


def join(address: Address, run: dict[str, str]) -> Member | None:
    """Join by an address, by what Slurm or a TPU pod tells, or what JAX has joined; None if alone.

    Args:
        address: where they meet.
        run: what must be the same for all besides the versions, by its name in an error.

    Raises:
        InputError: the address is incomplete or wrong, or the others cannot be joined.
    """
    run = _versions() | run
    given = [value is not None for value in address]
    if any(given) and not all(given):
        raise InputError(
            "--coordinator, --num_processes and --process_id belong together, got only "
            + ", ".join(f"--{name}" for name, x in address._asdict().items() if x is not None)
        )
    if not any(given):
        if jax.distributed.is_initialized() or on_tpu():
            return _join_known(run)
        if (found := slurm_address()) is None:
            return None
        # One device of its machine for each task, as JAX does there by itself.
        return _join_at(found, run, {"local_device_ids": [int(os.environ["SLURM_LOCALID"])]})
    return _join_at(address, run, {})


def _join_at(address: Address, run: dict[str, str], options: dict[str, Any]) -> Member:
    """Join by an address: first our own hub, then JAX's runtime through it."""
    host, colon, port = str(address.coordinator).rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) < 2**16):
        raise InputError(
            f"--coordinator must be HOST:PORT of process 0, got {address.coordinator!r}"
        )
    processes, this = address.num_processes or 0, address.process_id or 0
    if not 0 <= this < processes:
        raise InputError(
            f"--process_id must be from 0 to --num_processes - 1, got {this} of {processes}"
        )
    place = host.strip("[]"), int(port)
    member = Member(place, this, processes, run, os.environ.get(KEY, ""))
    member.join()
    if this == 0:
        options["coordinator_bind_address"] = member.coordinator
    _initialize(
        coordinator_address=member.coordinator,
        num_processes=processes,
        process_id=this,
        cluster_detection_method="deactivate",
        **options,
    )
    return member


def _join_known(run: dict[str, str]) -> Member | None:
    """Join those that JAX's runtime finds or has found by itself."""
    if not jax.distributed.is_initialized():
        _initialize()
    if jax.process_count() == 1:
        return None
    # Where they meet and the run's key, from process 0 to all, by a reduction.
    told = np.zeros(256, np.uint8)
    if jax.process_index() == 0:
        text = json.dumps([_own_address(), free_port(), secrets.token_hex(16)]).encode()
        told[: len(text)] = list(text)
    told = np.asarray(multihost_utils.broadcast_one_to_all(told))
    host, port, key = json.loads(bytes(told).rstrip(b"\0"))
    member = Member((host, port), jax.process_index(), jax.process_count(), run, key)
    member.join()
    return member


def _initialize(**options: Any) -> None:
    try:
        jax.distributed.initialize(**options)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"the processes cannot join ({one_line(error)})") from None


def _own_address() -> str:
    """Return the address by which other machines reach this one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only chooses the way out
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"
