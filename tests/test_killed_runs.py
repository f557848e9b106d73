"""The training program killed, stopped, out of disk, bereft of a peer: how it ends and returns."""

import contextlib
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from programs import HANG_SECONDS, run_together, started

from cddfuse_jax.weights.any_format import load_meta, load_params, saved_steps

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Compiled programs for these tests alone: what is killed may leave half of one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@contextlib.contextmanager
def training(
    workdir: Path,
    epochs: int,
    count: int,
    most_kib: int | None = None,
    batch: int = 4,
    more: dict[str, float | str] | None = None,
) -> Iterator[list[subprocess.Popen]]:
    """The training program, in processes of two devices each."""
    fields = {
        "model.features": 8, "model.heads": 2, "model.blocks": 1, "model.coupling_layers": 1,
        "batch_size": batch, "data.count": 2 * batch,
        "data.height": 24, "data.width": 24, "data.crop": 16,
        "reconstruction_epochs": epochs, "fusion_epochs": 1, "checkpoint_every": 2,
    } | (more or {})  # fmt: skip
    command = ["-m", "cddfuse_jax.train", "--config=configs/quickstart.py"]
    command += [f"--workdir={workdir}"]
    command += [f"--config.{name}={value}" for name, value in fields.items()]
    with started(command, count, 2, most_kib) as processes:
        yield processes


def wait_for_checkpoint(
    workdir: Path, process: subprocess.Popen, timeout: float = HANG_SECONDS
) -> None:
    deadline = time.monotonic() + timeout
    while not any(path.name.isdecimal() for path in (workdir / "checkpoints").glob("*")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)


# A network that is compiled in no time, where it does not matter.
PLAIN = dict.fromkeys(("model.block", "model.base", "model.detail"), "tests/parts.py:Pointwise")


def own_lines(text: str) -> list[str]:
    """Leave out what JAX's runtime and Orbax log by themselves, and the line a minute of a log."""
    return [
        line
        for line in text.splitlines()
        if line
        and not re.match(r"[WEIF]\d{4} |\[Gloo\]|WARNING:absl|epoch |training: ", line)
        and not re.search(r"peer ranks|^[\d :]+$", line)  # of Gloo's threads, which tear its lines
    ]


@pytest.mark.long
def test_sigterm_to_one_of_two_stops_both_after_one_update_and_one_resumes(tmp_path):
    """The run of two processes of two devices goes on in one process, until Ctrl-C ends it."""
    workdir = tmp_path / "run"
    with training(workdir, 400, 2, more=PLAIN) as processes:
        wait_for_checkpoint(workdir, processes[0])
        processes[1].send_signal(signal.SIGTERM)
        output = [process.communicate(timeout=HANG_SECONDS) for process in processes]
        assert [process.returncode for process in processes] == [0, 0], output
    stopped = max(int(path.name) for path in (workdir / "checkpoints").iterdir())
    assert stopped < 802
    lines = own_lines(output[0][1])
    assert re.match("8 pairs, 2 updates an epoch, 802 in all, on 4 .* devices of 2 proc", lines[0])
    assert lines[1] == "compiling the update of stage reconstruction"
    assert lines[2:] == [
        f"stopped after step {stopped}, saved; the same command goes on from there",
    ]
    assert (own_lines(output[1][0]), own_lines(output[1][1])) == ([], [])
    meta = load_meta(workdir)
    assert meta["pairs"] == 8 and meta["steps_per_epoch"] == 2

    with training(workdir, 400, 1, more=PLAIN) as processes:
        line = ""
        while "resuming" not in line:
            line = processes[0].stderr.readline()
            assert line, "ended without resuming"
        assert f"after step {stopped} of 802" in line
        assert "802 in all, on 2 " in processes[0].stderr.readline()
        assert "compiling" in processes[0].stderr.readline()
        processes[0].stderr.readline()  # an epoch: it trains
        processes[0].send_signal(signal.SIGINT)
        _, error = processes[0].communicate(timeout=HANG_SECONDS)
        assert processes[0].returncode == 130, error
    first, last = own_lines(error)
    assert first == "Ctrl-C: saving after this update; Ctrl-C to stop at once"
    assert re.fullmatch(r"stopped after step \d+, saved; .*", last)


@pytest.mark.long
@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_of_two_processes_dies_the_other_ends(tmp_path, victim):
    workdir = tmp_path / "run"
    with training(workdir, 4000, 2) as processes:
        wait_for_checkpoint(workdir, processes[0])
        processes[victim].kill()
        survivor = processes[1 - victim]
        _, error = survivor.communicate(timeout=HANG_SECONDS)
    if survivor.returncode == 1:  # the reduction failed first
        assert len(re.findall(r"error: a process of this run was lost \(", error)) == 1, error
    else:  # JAX's runtime ends it, with text of its own
        assert survivor.returncode == -signal.SIGABRT, error


def train_until(step: int, count: int, devices: int, workdir: Path, config) -> None:
    """Train until a step in ``count`` processes of ``devices`` devices each."""
    file = workdir.with_name(f"until{step}.json")
    file.write_text(config.to_json())
    script = str(Path(__file__).with_name("resume_run.py"))
    command = [script, str(file), str(workdir), str(step)]
    codes, outputs, errors = run_together(command, count, devices)
    assert codes == [0] * count, errors
    assert all(f"\n{step} {count} {count * devices}\n" in f"\n{output}" for output in outputs)


@pytest.mark.long
def test_one_run_on_ever_other_devices_ends_as_an_undisturbed_one(tiny_config, tmp_path):
    """One device, then two processes of two devices each, then one device again: 8 updates."""
    config = tiny_config.copy_and_resolve_references()
    config.batch_size, config.data.count, config.picture_every = 4, 8, 1000
    config.update_from_flattened_dict(PLAIN)
    moved_about(config, tmp_path, [(2, 1, 1), (3, 2, 2), (8, 1, 1)])  # stage II is after step 4


def moved_about(config, folder: Path, moves: list[tuple[int, int, int]]) -> None:
    """Train undisturbed on one device, and again in turns of step, processes and devices each."""
    workdir, last = folder / "moving", moves[-1][0]
    config.held_out.every_nth, config.keep_checkpoints = 0, 3
    train_until(last, 1, 1, folder / "undisturbed", config)
    for step, count, devices in moves:
        train_until(step, count, devices, workdir, config)
    steps = {int(path.name) for path in (workdir / "checkpoints").iterdir()}
    assert steps == {moves[-2][0], 4, last}
    expected, found = (load_params(folder / name) for name in ("undisturbed", "moving"))
    initial = load_params(workdir / "checkpoints" / "4")
    leaves = zip(*map(jax.tree.leaves, (expected, found, initial)), strict=True)
    moved = 0
    for ours, theirs, before in leaves:
        error = np.linalg.norm(theirs - ours) / np.linalg.norm(ours)
        assert error < 1e-5, error
        moved += np.linalg.norm(ours - before) > 1e-3 * np.linalg.norm(ours)
    assert moved > 12  # or anything would be equal


@pytest.mark.long
def test_a_full_disk_ends_the_program_with_a_line_and_its_checkpoints_whole(tmp_path):
    workdir = tmp_path / "run"
    more = {"ema": 0.9}  # several files of a checkpoint fail at once
    with training(workdir, 400, 1, more=more) as processes:
        wait_for_checkpoint(workdir, processes[0])
    before = load_meta(workdir)
    # TensorBoard's file fits in that.
    with training(workdir, 400, 1, most_kib=32, more=more) as processes:
        _, error = processes[0].communicate(timeout=HANG_SECONDS)
        assert processes[0].returncode == 1, error
    step = re.search(r"^resuming .* after step (\d+) of 802$", error, re.M)[1]
    told = [line for line in error.splitlines() if "error: " in line]
    assert "Traceback" not in error
    assert len(told) == 1 and own_lines(error)[-1] == told[0], error
    assert re.match(
        rf"error: the checkpoint of step \d+ could not be written to {workdir}", told[0]
    )
    assert "(File too large)" in told[0]
    assert f"that of step {step} is whole: make room and give the same command again" in told[0]
    assert load_meta(workdir) == before and load_params(workdir)


@pytest.mark.long
def test_killed_at_random_moments_it_ends_bit_for_bit_alike(tmp_path):
    """While a checkpoint is written, some time after one was, and while the program starts."""
    more = PLAIN | {"checkpoint_every": 3, "data.count": 8, "picture_every": 1000}
    rng = random.Random(0)

    def finish(workdir) -> str:
        with training(workdir, 6, 1, more=more) as (process,):
            _, error = process.communicate(timeout=HANG_SECONDS)
        assert process.returncode == 0, error
        return load_meta(workdir)["digest"]

    undisturbed, workdir = finish(tmp_path / "undisturbed"), tmp_path / "run"
    checkpoints = workdir / "checkpoints"
    for moment, longest in (("saving", 0.05), ("between", 1.0), ("starting", 6.0)):
        before = saved_steps(workdir)
        unfinished = set(checkpoints.glob("*.orbax-checkpoint-tmp*"))
        with training(workdir, 6, 1, more=more) as (process,):
            deadline = time.monotonic() + HANG_SECONDS
            while process.poll() is None and moment != "starting":
                assert time.monotonic() < deadline
                if moment == "saving" and set(checkpoints.glob("*-tmp*")) - unfinished:
                    break
                if moment == "between" and saved_steps(workdir) != before:
                    break
                time.sleep(0.002)
            time.sleep(longest * rng.random())
            process.kill()
            _, error = process.communicate()
        resumed = re.search(r"resuming .* after step (\d+) of", error)
        assert not resumed or int(resumed[1]) == before[-1]
        assert max(saved_steps(workdir), default=0) >= max(before, default=0)
    assert finish(workdir) == undisturbed
