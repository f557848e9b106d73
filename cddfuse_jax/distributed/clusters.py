"""What a cluster tells of the processes of a run, where no flag does."""

import importlib.util
import os
from collections.abc import Mapping

from cddfuse_jax.distributed.address import Address

_STEP = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
_PORTS = range(61440, 65536)  # above those that Linux gives to outgoing connections


def slurm_address(variables: Mapping[str, str] = os.environ) -> Address | None:
    """Return where the tasks of ``srun`` meet; None outside of it or for one task."""
    if not all(name in variables for name in _STEP) or int(variables["SLURM_NTASKS"]) == 1:
        return None
    port = _PORTS[int(variables["SLURM_JOB_ID"]) % len(_PORTS)]
    return Address(
        f"{first_host(variables['SLURM_STEP_NODELIST'])}:{port}",
        int(variables["SLURM_NTASKS"]),
        int(variables["SLURM_PROCID"]),
    )


def first_host(hosts: str) -> str:
    """Return the first of Slurm's list of hosts, such as ``gpu[07,11-12]-a,login``."""
    name, bracket, rest = hosts.partition("[")
    if not bracket or "," in name:
        return name.partition(",")[0]
    numbers, _, rest = rest.partition("]")
    return name + numbers.replace("-", ",").partition(",")[0] + rest.partition(",")[0]


def on_tpu() -> bool:
    """Tell whether this is a TPU machine, where JAX finds the other processes by itself."""
    chips = any(os.path.exists(device) for device in ("/dev/accel0", "/dev/vfio/0"))
    return importlib.util.find_spec("libtpu") is not None and chips
