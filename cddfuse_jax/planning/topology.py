"""Chips that are not there, for the compiler that is."""

import contextlib
import importlib.util
import os
from collections.abc import Iterator

import jax
from jax.experimental import topologies

from cddfuse_jax.errors import InputError, install, one_line
from cddfuse_jax.runtime.chips import CHIPS

# libtpu asks the machine that it is on what it is part of, and wants to be alone on it.
_OF_LIBTPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_MIN_LOG_LEVEL": "3",
    "TPU_STDERR_LOG_LEVEL": "3",
}


def devices(name: str) -> list[jax.Device]:
    """Return the devices of a topology, such as "v5e:4x4", for which programs can be compiled.

    To be called before JAX has looked for devices of its own: it uses the CPU from then on.

    Raises:
        InputError: TPU's compiler is not installed, or knows no such topology.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(f"planning needs TPU's compiler, libtpu: {install('plan')}")
    for variable, value in _OF_LIBTPU.items():
        os.environ.setdefault(variable, value)
    jax.config.update("jax_platforms", "cpu")
    # A v4 chip's two cores are one device of JAX, as they are on Cloud TPUs.
    options = {"chip_config_name": "megacore"} if name.startswith("v4:") else {}
    try:
        with _quiet():
            found = topologies.get_topology_desc(platform="tpu", topology_name=name, **options)
    except Exception as error:
        raise InputError(
            f"--topology is a chip of {', '.join(chip.name for chip in CHIPS)} and the slice's "
            f"sides, as v5e:4x4 or v5p:2x2x2, got {name!r} ({one_line(error)})"
        ) from None
    return list(found.devices)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep libtpu's remark that this machine has no TPU from standard error."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
