"""Two programs in one folder: the second says so, and a killed one leaves nothing behind."""

import signal
import subprocess
import sys

import pytest
from programs import REPOSITORY

from cddfuse_jax.errors import InputError
from cddfuse_jax.files import alone_in

HOLD = """
import sys, time
from cddfuse_jax.files import alone_in
with alone_in(sys.argv[1], "train"):
    print("ready", flush=True)
    time.sleep(60)
"""


def test_the_second_is_refused_until_the_first_is_gone_however_it_went(tmp_path):
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    with pytest.raises(InputError) as error, alone_in(folder, "train"):
        pass
    assert str(error.value) == (
        f"{folder}: another train uses this folder; wait until it ends, or name another folder"
    )
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not list(folder.iterdir())
    with alone_in(folder, "train"):
        (folder / "file").write_text("")
    assert (folder / "file").exists()


def test_a_folder_that_was_made_in_vain_is_removed(tmp_path):
    with alone_in(tmp_path / "a" / "b", "fuse"):
        pass
    assert not (tmp_path / "a" / "b").exists()


def test_what_cannot_be_a_folder_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"), alone_in(tmp_path / "file", "fuse"):
        pass
