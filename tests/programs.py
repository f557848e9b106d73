"""The project's programs as tests start them: alone, or several that find each other."""

import contextlib
import functools
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import pytest

from cddfuse_jax import console

# After which a process is taken to hang: no test waits so long for one that works, however busy
# the machine.
HANG_SECONDS = 900
REPOSITORY = Path(__file__).resolve().parents[1]
# What is compiled to be run once on a few numbers: the compiler's own time is what counts.
HURRY = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
}


@functools.cache
def compiler_options() -> dict[str, int | bool]:
    """Return those of `HURRY` that this version of the compiler knows; they save two thirds."""
    known = {}
    for name, value in HURRY.items():
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            jax.jit(lambda x: x, compiler_options={name: value})(0)
            known[name] = value
    return known


def environment(devices: int) -> dict[str, str]:
    """Variables of a program that computes on so many devices of this CPU."""
    flags = (f"--{name}={str(value).lower()}" for name, value in compiler_options().items())
    return os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "PYTHONPATH": str(REPOSITORY),
        "XLA_FLAGS": " ".join([os.environ.get("XLA_FLAGS", ""), *flags]),
    }


def ends(main: Callable, *words: object) -> int:
    """Run a command in this process, as its program does; return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [main.__module__, *map(str, words)])
        with pytest.raises(SystemExit) as end:
            console.run(main)
    return end.value.code


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextlib.contextmanager
def started(
    command: list[str], count: int = 1, devices: int = 1, most_kib: int | None = None
) -> Iterator[list[subprocess.Popen]]:
    """Start ``python command`` in processes that find each other; kill what is left of them.

    With ``most_kib`` no file that they write grows beyond it, as if the disk were full.
    """
    command, port, processes = [sys.executable, *command], free_port(), []
    if most_kib:
        command = ["bash", "-c", f'ulimit -f {most_kib}; exec "$@"', "bash", *command]
    try:
        for number in range(count):
            flags = [f"--coordinator=127.0.0.1:{port}", f"--num_processes={count}"]
            flags += [f"--process_id={number}"]
            process = subprocess.Popen(
                [*command, *(flags if count > 1 else [])],
                cwd=REPOSITORY,
                env=environment(devices),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            processes.append(process)
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def run_together(
    command: list[str], count: int = 1, devices: int = 1, timeout: float = HANG_SECONDS
) -> tuple[list[int], list[str], list[str]]:
    """Run ``python command`` in ``count`` processes: exit codes, outputs and errors of each."""
    with started(command, count, devices) as processes:
        texts = [process.communicate(timeout=timeout) for process in processes]
    outputs, errors = map(list, zip(*texts, strict=True))
    return [process.returncode for process in processes], outputs, errors
