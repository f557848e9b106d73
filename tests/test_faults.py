"""Damaged checkpoints, full disks and lost files: what is used, what is left, what is told."""

import contextlib
import re
import resource
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from cddfuse_jax.data.pipeline import batches
from cddfuse_jax.data.skipping import SkippingSource
from cddfuse_jax.data.sources import FolderPairs
from cddfuse_jax.errors import InputError, WriteError
from cddfuse_jax.training.checkpoints import CheckpointError, Checkpoints
from cddfuse_jax.training.distributed import Address, joined
from cddfuse_jax.training.log import TrainLog
from cddfuse_jax.training.recipe import make_optimizers
from cddfuse_jax.training.update import init_state
from cddfuse_jax.weights.any_format import saved_steps

pytestmark = pytest.mark.slow


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


@pytest.fixture
def finished(tiny_config, tiny_params, tmp_path):
    """A run's folder with checkpoints of steps 4 and 8; and its last state."""
    state = init_state(tiny_params, make_optimizers(tiny_config, steps_per_epoch=2), ema=True)
    checkpoints = Checkpoints(tmp_path / "run")
    for step in (4, 8):
        params = jax.tree.map(lambda leaf, step=step: leaf * step, tiny_params)
        state = jax.device_put(state.replace(step=np.int32(step), params=params))
        checkpoints.save(state, {"config": {}})
    checkpoints.close()
    return tmp_path / "run", state


def restore_newest(workdir, like):
    checkpoints = Checkpoints(workdir)
    try:
        return checkpoints.restore_newest(like, lambda meta: None)
    finally:
        checkpoints.close()


def newest_files(workdir) -> list[Path]:
    return sorted(path for path in (workdir / "checkpoints" / "8").rglob("*") if path.is_file())


@pytest.mark.long
def test_a_damaged_newest_checkpoint_is_set_aside(finished, capsys):
    """File by file: the one before is used with a warning, or nothing of the state was lost."""
    workdir, state = finished
    pristine = workdir.with_name("pristine")
    shutil.copytree(workdir / "checkpoints", pristine)
    set_aside = 0
    for number, file in enumerate(newest_files(workdir)):
        content = file.read_bytes()
        if number % 2:
            file.unlink()
        else:
            file.write_bytes(content[: len(content) // 2])
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
    set_aside = 0
    for place in range(64):  # some bytes of such a file are superseded indices, read by nobody
        if place >= 4 and set_aside >= 2:
            break
        content = bytearray(intact)
        content[int((0.618 * place + 0.1) % 1 * len(content))] ^= 1  # spread over the whole file
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
    assert set_aside >= 2


def test_without_any_whole_checkpoint_training_starts_over(finished):
    workdir, state = finished
    for step in (4, 8):
        shutil.rmtree(workdir / "checkpoints" / str(step) / "params")
    assert restore_newest(workdir, state) is None
    assert {path.name for path in (workdir / "checkpoints").iterdir()} == {"4.broken", "8.broken"}


@contextlib.contextmanager
def full_disk():
    """Let no file grow beyond 4 KiB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_under_tensorboard_is_one_line(tmp_path):
    message = rf"{tmp_path}/tensorboard could not be written \(File too large\); checkpoints "
    log = TrainLog(tmp_path, epoch=100, total=100, start=0, every=1, pairs=1)
    with full_disk(), pytest.raises(WriteError, match=message), log:
        for step in range(1, 100):
            log.update(step, "fusion", {"total": jax.numpy.ones(())})


def test_a_full_disk_leaves_the_last_checkpoint(finished):
    workdir, state = finished
    checkpoints = Checkpoints(workdir)
    with full_disk(), pytest.raises(CheckpointError) as error:
        checkpoints.save(state.replace(step=np.int32(9)), {"config": {}})
    checkpoints.close()
    message = str(error.value)
    assert message.startswith("the checkpoint of step 9 could not be written")
    assert "that of step 8 is whole" in message and "\n" not in message
    assert_same(restore_newest(workdir, state), state)


def write_folders(root: Path, count: int = 6) -> dict[str, Path]:
    rng = np.random.default_rng(0)
    folders = {"visible": root / "vi", "infrared": root / "ir"}
    for folder in folders.values():
        folder.mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(256, size=(20, 20), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return folders


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


@pytest.mark.parametrize(
    "address, message",
    [
        (Address("127.0.0.1:1", None, 0), "belong together, got only --coordinator, --process_id"),
        (Address("127.0.0.1", 2, 0), "is HOST:PORT of process 0, got 127.0.0.1"),
        (Address("127.0.0.1:1", 2, 2), "from 0 to --num_processes - 1, got 2 of 2"),
    ],
)
def test_incomplete_addresses_are_refused(address, message):
    with pytest.raises(InputError, match=message), joined(address, ""):
        pass


def test_checkpoints_keep_the_newest_the_best_and_the_landmarks(finished, tmp_path):
    _, state = finished
    checkpoints = Checkpoints(tmp_path / "kept", keep=2, landmarks=[1])
    for step, loss in ((1, 0.5), (2, 0.6), (3, 0.4), (4, 0.7), (5, 0.8), (6, 0.4)):
        assert checkpoints.is_best(step, "fusion", loss) == (step in (1, 3))
        checkpoints.save(state.replace(step=np.int32(step)), {"config": {}})
    assert checkpoints.latest_step() == 6
    checkpoints.close()
    assert saved_steps(tmp_path / "kept") == [1, 3, 5, 6]
