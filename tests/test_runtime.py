"""Settings that commands make: what they change, and whose settings go first."""

import platform
import resource
import subprocess
import sys

import pytest

FAULTS = """
import resource, jax, jax.numpy as jnp
from cddfuse_jax import runtime
print(runtime.keep_freed_memory())
double = jax.jit(lambda x: jnp.sort(x * 2)[::-1].copy())
x = jnp.ones(16_000_000)  # 64 MB: above what glibc would keep
faults = []
for _ in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    jax.block_until_ready(double(x))
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults[2:]))
"""


def run(**environment) -> list[str]:
    command = [sys.executable, "-c", FAULTS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120,
                          env={"JAX_PLATFORMS": "cpu", "PATH": "", **environment})  # fmt: skip
    return done.stdout.split()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc's malloc")
def test_freed_memory_is_kept_unless_glibc_is_told_otherwise():
    page = resource.getpagesize()
    kept, faults = run()
    assert kept == "True"
    assert int(faults) * page < 6.4e6  # of the 64 MB or more that a call writes
    kept, faults = run(MALLOC_TRIM_THRESHOLD_="131072")
    assert kept == "False"
