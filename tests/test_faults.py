"""Runs that are killed, run out of disk, lose a file or a peer: what is left, and how they end."""

import json
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from test_parallel import environment, free_port

from cddfuse_jax.checkpoints import CheckpointError, Checkpoints, load_meta
from cddfuse_jax.commands import InputError
from cddfuse_jax.data.pipeline import batches
from cddfuse_jax.data.skipping import SkippingSource
from cddfuse_jax.data.sources import FolderPairs
from cddfuse_jax.processes import Address, joined
from cddfuse_jax.train import train_and_evaluate

REPOSITORY = Path(__file__).resolve().parents[1]


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


@pytest.fixture
def finished(tiny_run, tmp_path):
    """A copy of the finished tiny run, with checkpoints of steps 4 and 8; and its last state."""
    shutil.copytree(tiny_run[0], tmp_path / "run")
    return tmp_path / "run", tiny_run[1]


def restore_newest(workdir, like):
    checkpoints = Checkpoints(workdir)
    try:
        return checkpoints.restore_newest(like, lambda meta: None)
    finally:
        checkpoints.close()


def newest_files(workdir) -> list[Path]:
    return sorted(path for path in (workdir / "checkpoints" / "8").rglob("*") if path.is_file())


@pytest.mark.parametrize("damage", ["deleted", "truncated", "emptied"])
def test_a_damaged_newest_checkpoint_is_set_aside(finished, damage, capsys):
    """File by file: the one before is used with a warning, or nothing of the state was lost."""
    workdir, state = finished
    pristine = workdir.with_name("pristine")
    shutil.copytree(workdir / "checkpoints", pristine)
    set_aside = 0
    for file in newest_files(workdir):
        content = file.read_bytes()
        if damage == "deleted":
            file.unlink()
        elif damage == "truncated" and len(content) > 1:
            file.write_bytes(content[: len(content) // 2])
        else:
            file.write_bytes(b"")
        capsys.readouterr()
        found = restore_newest(workdir, state)
        warning = capsys.readouterr().err
        if int(found.step) == 8:
            assert_same(found, state)
        else:
            assert int(found.step) == 4
            assert re.search(r"warning: the checkpoint of step 8 is damaged \(.+\); now ", warning)
            assert warning.count("\n") == 1
            assert (workdir / "checkpoints" / "8.broken").is_dir()
            set_aside += 1
        shutil.rmtree(workdir / "checkpoints")
        shutil.copytree(pristine, workdir / "checkpoints")
    assert set_aside > 5


def test_flipped_bits_are_noticed(finished, capsys):
    """Wherever the bit: the one before is used with a warning, or nothing of the state was lost."""
    workdir, state = finished
    pristine = workdir.with_name("pristine")
    shutil.copytree(workdir / "checkpoints", pristine)
    numbers = [file for file in newest_files(workdir) if file.parent.name == "d"]
    largest = max(numbers, key=lambda path: path.stat().st_size)
    intact = largest.read_bytes()
    set_aside, places = 0, 8
    for place in range(places):  # some bytes of such a file are superseded indices, read by nobody
        content = bytearray(intact)
        content[(2 * place + 1) * len(content) // (2 * places)] ^= 1
        largest.write_bytes(content)
        capsys.readouterr()
        found = restore_newest(workdir, state)
        if int(found.step) == 8:
            assert_same(found, state)
        else:
            assert int(found.step) == 4
            assert "warning: the checkpoint of step 8 is damaged" in capsys.readouterr().err
            set_aside += 1
        shutil.rmtree(workdir / "checkpoints")
        shutil.copytree(pristine, workdir / "checkpoints")
    assert set_aside >= places // 2


def test_without_any_whole_checkpoint_training_starts_over(finished):
    workdir, state = finished
    for step in (4, 8):
        shutil.rmtree(workdir / "checkpoints" / str(step) / "params")
    assert restore_newest(workdir, state) is None
    assert {path.name for path in (workdir / "checkpoints").iterdir()} == {"4.broken", "8.broken"}


def test_training_goes_on_from_the_checkpoint_before(finished, tiny_config, capsys):
    workdir, state = finished
    shutil.rmtree(workdir / "checkpoints" / "8" / "optimizer")
    again = train_and_evaluate(tiny_config, workdir)
    assert f"resuming {workdir} after step 4 of 8" in capsys.readouterr().err
    assert_same(again, state)


def test_a_full_disk_leaves_the_last_checkpoint(finished):
    workdir, state = finished
    checkpoints = Checkpoints(workdir)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # then no file grows, as when full
    try:
        with pytest.raises(CheckpointError) as error:
            checkpoints.save(state.replace(step=np.int32(9)), {"config": {}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    checkpoints.close()
    message = str(error.value)
    assert message.startswith("the checkpoint of step 9 could not be written")
    assert "that of step 8 is whole" in message and "\n" not in message
    assert_same(restore_newest(workdir, state), state)


def write_folders(root: Path, count: int = 6) -> dict[str, Path]:
    rng = np.random.default_rng(0)
    folders = {"infrared": root / "ir", "visible": root / "vi"}
    for folder in folders.values():
        folder.mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(256, size=(20, 20), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return folders


@pytest.mark.parametrize("fault", ["corrupt", "vanished"])
def test_a_bad_image_in_training_is_named(tiny_config, tmp_path, fault):
    config = tiny_config.copy_and_resolve_references()
    folders = write_folders(tmp_path)
    config.data.update(source="folders", **{name: str(path) for name, path in folders.items()})
    config.reconstruction_epochs = 40
    bad = folders["visible"] / "3.png"

    def spoil(step):
        if step == 1:
            bad.write_bytes(b"no picture") if fault == "corrupt" else bad.unlink()
        return False

    with pytest.raises(InputError, match=re.escape(str(bad))):
        train_and_evaluate(config, tmp_path / "run", spoil)


def test_bad_pairs_are_counted_and_replaced_by_the_next(tmp_path, capsys):
    folders = write_folders(tmp_path)
    for number in (2, 3, 5):
        (folders["infrared"] / f"{number}.png").write_bytes(b"no picture")
    source = SkippingSource(FolderPairs(*folders.values(), keep_bad=True))
    assert len(source) == 6
    for bad, replacement in ((2, 4), (3, 4), (5, 0)):
        assert_same(source[bad], source[replacement])
    assert source.skipped == {2, 3, 5}
    complaints = capsys.readouterr().err.splitlines()
    assert len(complaints) == 3  # once each, however often it was asked for
    assert str(folders["infrared"] / "2.png") in complaints[0]
    assert complaints[2].endswith("(3 skipped so far)")
    again = SkippingSource(FolderPairs(*folders.values(), keep_bad=True))
    first, second = (batches(s, batch_size=2, seed=1, crop=16, flip=True) for s in (source, again))
    for step in (0, 4, 17):
        assert_same(first[step], second[step])


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_the_shares_of_a_batch_are_the_batch_in_order(tmp_path, parts):
    source = FolderPairs(*write_folders(tmp_path, 7).values())
    options = {"batch_size": 4, "seed": 5, "crop": 16, "flip": True, "crops_per_pair": 3}
    whole = batches(source, **options)
    shares = [batches(source, **options, share=(part, parts)) for part in range(parts)]
    for step in (0, 4, 5, 12):  # an epoch has 5 batches and a remainder
        for name, images in whole[step].items():
            joint = np.concatenate([share[step][name] for share in shares])
            np.testing.assert_array_equal(joint, images)


@pytest.mark.parametrize(
    "address, message",
    [
        (Address("127.0.0.1:1", None, 0), "belong together, got only --coordinator, --process_id"),
        (Address("127.0.0.1", 2, 0), "must be HOST:PORT of process 0, got '127.0.0.1'"),
        (Address("127.0.0.1:1", 2, 2), "from 0 to --num_processes - 1, got 2 of 2"),
    ],
)
def test_incomplete_addresses_are_refused(address, message):
    with pytest.raises(InputError, match=message), joined(address):
        pass


class Training:
    """The training program, in one or two processes of two devices each."""

    def __init__(self, workdir: Path, epochs: int, processes: int, cache: Path):
        fields = {
            "model.features": 8, "model.heads": 2, "model.blocks": 1,
            "data.count": 8, "data.height": 24, "data.width": 24, "data.crop": 16,
            "reconstruction_epochs": epochs, "fusion_epochs": 1, "checkpoint_every": 2,
        }  # fmt: skip
        self.workdir = workdir
        port, self.processes = free_port(), []
        for number in range(processes):
            command = [sys.executable, "-m", "cddfuse_jax.train", "--config=configs/quickstart.py"]
            command += [f"--workdir={workdir}"]
            command += [f"--config.{name}={value}" for name, value in fields.items()]
            if processes > 1:
                command += [f"--coordinator=127.0.0.1:{port}", f"--process_id={number}"]
                command += [f"--num_processes={processes}"]
            variables = environment(2) | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
            self.processes.append(
                subprocess.Popen(
                    command,
                    cwd=REPOSITORY,
                    env=variables,
                    text=True,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()

    def wait_for_checkpoint(self, timeout: float = 240) -> None:
        deadline = time.monotonic() + timeout
        while not any(p.name.isdecimal() for p in (self.workdir / "checkpoints").glob("*")):
            assert time.monotonic() < deadline and self.processes[0].poll() is None
            time.sleep(0.05)


def own_lines(text: str) -> list[str]:
    """Leave out what JAX's runtime and Orbax log by themselves."""
    return [
        line
        for line in text.splitlines()
        if line and not re.match(r"[WEIF]\d{4} |\[Gloo\]|WARNING:absl|epoch ", line)
    ]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def test_sigterm_to_one_of_two_stops_both_after_one_update_and_one_resumes(tmp_path, cache):
    """The run of two processes of two devices goes on, and ends, in one process."""
    workdir = tmp_path / "run"
    with Training(workdir, 400, 2, cache) as run:
        run.wait_for_checkpoint()
        run.processes[1].send_signal(signal.SIGTERM)
        output = [process.communicate(timeout=120) for process in run.processes]
        assert [process.returncode for process in run.processes] == [0, 0], output
    stopped = max(int(path.name) for path in (workdir / "checkpoints").iterdir())
    assert stopped < 802
    assert own_lines(output[0][1]) == [
        f"stopped after step {stopped}, saved; the same command goes on from there"
    ]
    assert own_lines(output[1][1]) == [] == own_lines(output[1][0])
    meta = load_meta(workdir)
    assert meta["pairs"] == 8 and meta["steps_per_epoch"] == 2

    with Training(workdir, 400, 1, cache) as run:
        line = ""
        while "resuming" not in line:
            line = run.processes[0].stderr.readline()
            assert line, "ended without resuming"
        assert f"after step {stopped} of 802" in line
        run.processes[0].stderr.readline()  # an epoch: it trains
        run.processes[0].send_signal(signal.SIGTERM)
        _, error = run.processes[0].communicate(timeout=120)
        assert run.processes[0].returncode == 0, error
    assert re.fullmatch(r"stopped after step \d+, saved; .*", own_lines(error)[-1])
    assert len(own_lines(error)) == 1


@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_of_two_processes_dies_the_other_ends(tmp_path, cache, victim):
    with Training(tmp_path / "run", 4000, 2, cache) as run:
        run.wait_for_checkpoint()
        run.processes[victim].kill()
        died = time.monotonic()
        survivor = run.processes[1 - victim]
        _, error = survivor.communicate(timeout=60)
        assert time.monotonic() - died < 60
    assert survivor.returncode == 1, error
    name = "" if victim else "process 1: "
    ours = rf"^{name}error: process {victim} of this run (has been silent for \d+ s|cannot be reached); "
    assert len(re.findall(ours, error, re.M)) == 1, error


def test_killed_at_random_moments_it_ends_bit_for_bit_alike(tmp_path, cache):
    tally = tmp_path / "chaos.json"
    done = subprocess.run(
        [sys.executable, "experiments/chaos.py", "--kills=3", "--epochs=6", f"--out={tally}"],
        cwd=REPOSITORY, env=environment(1) | {"JAX_COMPILATION_CACHE_DIR": str(cache)},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(tally.read_text())
    assert result["kills"] >= 2
    assert result["final_state_equals_undisturbed_bit_for_bit"] is True
