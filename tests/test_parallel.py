"""However an update is shared out over devices, microbatches and processes, it is one update."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPT = Path(__file__).with_name("parallel_run.py")
# Each way compiles two programs for several seconds: the whole grid only where it is asked for.
WAYS = ("2:pmap:1", "4:shard_map:2", "8:shard_map:1")
if os.environ.get("CDDFUSE_TEST_ALL_WAYS"):
    WAYS = tuple(
        f"{n}:{how}:{a}" for n in (1, 2, 4, 8) for how in ("shard_map", "pmap") for a in (1,)
    )
    WAYS += ("1:shard_map:4", "2:pmap:4", "4:shard_map:2")
WAYS_OF_TWO = ("4:shard_map:1", "4:pmap:1")[: 2 if os.environ.get("CDDFUSE_TEST_ALL_WAYS") else 1]


def environment(devices: int) -> dict[str, str]:
    return os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "PYTHONPATH": str(REPOSITORY),
        # The compiler's time is this test's time.
        "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def finish(processes: list[subprocess.Popen], timeout: float) -> None:
    try:
        for process in processes:
            output, _ = process.communicate(timeout=timeout)
            assert process.returncode == 0, output
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, dict[str, np.ndarray]]:
    """What each way gave; "0:..." is the update neither mapped nor accumulated."""
    folder = tmp_path_factory.mktemp("parallel")

    def start(devices: int, name: str, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder / name), *arguments],
            env=environment(devices),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    finish([start(8, "one.npz", "0:shard_map:1", *WAYS)], timeout=1800)
    address = f"127.0.0.1:{free_port()}"
    pair = [
        start(2, f"{i}.npz", *WAYS_OF_TWO, "--coordinator", address, "--process_id", str(i))
        for i in range(2)
    ]
    finish(pair, timeout=900)
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, prefix in (("one.npz", ""), ("0.npz", "first of two "), ("1.npz", "second of two ")):
        for key, value in np.load(folder / name).items():
            way, _, field = key.partition("/")
            found.setdefault(prefix + way, {})[field] = value
    return found


SHARED_OUT = (*WAYS, *(f"{i} of two {way}" for i in ("first", "second") for way in WAYS_OF_TWO))


@pytest.mark.parametrize("way", SHARED_OUT)
def test_losses_and_parameters_equal_those_of_one_device(runs, way):
    reference, shared = runs["0:shard_map:1"], runs[way]
    assert reference["losses"].shape == (12,)
    assert len(set(reference["losses"])) == 12
    np.testing.assert_allclose(shared["losses"], reference["losses"], rtol=1e-5)
    names = [name for name in reference if name.startswith("params")]
    assert len(names) > 50
    for name in names:
        error = np.linalg.norm(shared[name] - reference[name]) / np.linalg.norm(reference[name])
        assert error < 1e-5, (name, error)


@pytest.mark.parametrize("way", WAYS_OF_TWO)
def test_both_processes_end_with_the_same_state(runs, way):
    first, second = (runs[f"{i} of two {way}"] for i in ("first", "second"))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.parametrize("way", [way for way in WAYS if "shard_map" in way and way[0] != "1"])
@pytest.mark.parametrize("stage, parts", [("reconstruction", 9), ("fusion", 7)])
def test_an_update_sends_one_gradient_and_nothing_else_that_grows(runs, way, stage, parts):
    """Two correlations, then the gradient of the modules that train with the loss and its parts."""
    sent = json.loads(str(runs[way][f"collectives/{stage}"]))
    parameters = int(runs[way][f"parameters/{stage}"])
    assert sent == [["all-reduce", 2 * 4], ["all-reduce", (parameters + parts) * 4]]
