"""However an update is shared out over devices, microbatches and processes, it is one update."""

import os
from pathlib import Path

import numpy as np
import pytest
from programs import HANG_SECONDS, run_together

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("parallel_run.py")
# Each way compiles a program of some seconds for each stage: the whole grid, stage I, and two
# processes, only where it is asked for.
QUICK = "4:shard_map:1"
WAYS, WAYS_OF_TWO, STAGES = (QUICK,), (), "fusion"
if os.environ.get("CDDFUSE_TEST_ALL"):
    STAGES = "reconstruction,fusion"
    WAYS += ("2:pmap:4", "4:shard_map:2")
    WAYS_OF_TWO = ("4:pmap:1",)  # test_killed_runs.py has shard_map


def marked(ways) -> list:
    """All but the first are for who asks."""
    return [w if w == QUICK else pytest.param(w, marks=pytest.mark.long) for w in ways]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, dict[str, np.ndarray]]:
    """What each way gave; "0:..." is the update neither mapped nor accumulated."""
    folder = tmp_path_factory.mktemp("parallel")
    codes, outputs, errors = run_together(
        [str(SCRIPT), str(folder / "one.npz"), STAGES, "0:shard_map:1", *WAYS],
        devices=8,
        timeout=HANG_SECONDS,
    )
    assert codes == [0], (outputs, errors)
    if WAYS_OF_TWO:
        command = [str(SCRIPT), str(folder / "of_two.npz"), STAGES, *WAYS_OF_TWO]
        codes, outputs, errors = run_together(command, count=2, devices=2, timeout=HANG_SECONDS)
        assert codes == [0, 0], (outputs, errors)
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, prefix in (
        ("one.npz", ""),
        ("0_of_two.npz", "first of two "),
        ("1_of_two.npz", "second of two "),
    ):
        for key, value in np.load(folder / name).items() if (folder / name).exists() else ():
            way, _, field = key.partition("/")
            found.setdefault(prefix + way, {})[field] = value
    return found


SHARED_OUT = (*WAYS, *(f"{i} of two {way}" for i in ("first", "second") for way in WAYS_OF_TWO))


@pytest.mark.parametrize("way", marked(SHARED_OUT))
def test_losses_and_parameters_equal_those_of_one_device(runs, way):
    reference, shared = runs["0:shard_map:1"], runs[way]
    assert len(set(reference["losses"])) == 6 * len(STAGES.split(","))
    np.testing.assert_allclose(shared["losses"], reference["losses"], rtol=1e-10)
    names = [name for name in reference if name.startswith("params")]
    assert len(names) > 50
    for name in names:
        error = np.linalg.norm(shared[name] - reference[name]) / np.linalg.norm(reference[name])
        assert error < 1e-9, (name, error)


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS_OF_TWO)
def test_both_processes_end_with_the_same_state(runs, way):
    first, second = (runs[f"{i} of two {way}"] for i in ("first", "second"))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
