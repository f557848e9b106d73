"""Commands start without a home, in limits of memory, in a shell of Slurm and in a notebook."""

import argparse
import os
import pwd
import resource
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from programs import HANG_SECONDS, REPOSITORY, free_port

from cddfuse_jax import Fuser, devices, huge_pages
from cddfuse_jax.config import load
from cddfuse_jax.console import ArgumentParser
from cddfuse_jax.fusing import memory, whole
from cddfuse_jax.images.image_files import write_png
from cddfuse_jax.training import distributed


@pytest.fixture
def no_cache():
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


def test_without_a_home_programs_are_not_kept(no_cache, monkeypatch, tmp_path):
    def nobody(number):
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    devices.keep_compiled()
    assert jax.config.jax_compilation_cache_dir is None
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    devices.keep_compiled()
    assert jax.config.jax_compilation_cache_dir is None
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME")
    devices.keep_compiled()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / ".cache" / "cddfuse_jax")


def test_a_tilde_is_the_home_also_behind_an_equals_sign(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/me")
    parser = ArgumentParser()
    parser.add_argument("--out")
    given, rest = parser.parse_known_args(["--out=~/x", "--f=~/a,~/b", "a~/b", "~you", "~"])
    assert given == argparse.Namespace(out="/home/me/x")
    assert rest == ["--f=/home/me/a,/home/me/b", "a~/b", "~you", "/home/me"]
    file = tmp_path / "mine.py"
    file.write_text(
        "from cddfuse_jax.config import release\n"
        "def get_config():\n    config = release()\n    config.data.visible = '~/vi'\n"
        "    return config\n"
    )
    assert load(str(file), []).data.visible == "/home/me/vi"


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("python -m cddfuse_jax.fuse --vi a", True),
        ("python -X importtime -W error -u -m cddfuse_jax fuse", True),
        ("python /usr/bin/cddfuse fuse", True),
        (f"python {REPOSITORY}/cddfuse_jax/fuse.py", True),
        ("python convert_torch_weights.py a b", True),
        ("python -m ipykernel_launcher -f cddfuse_jax.json", False),
        ("python my_study.py -m cddfuse_jax.fuse", False),
        ("python -c code", False),
        ("python", False),
    ],
)
def test_only_what_was_started_for_a_command_starts_again(words, command):
    assert huge_pages.started_for_a_command(words.split()) == command


@pytest.mark.parametrize(("tasks", "several"), [(None, False), ("1", False), ("4", True)])
def test_a_shell_in_an_allocation_is_one_process(monkeypatch, tasks, several):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_STEP_NODELIST", "localhost")
    monkeypatch.setattr(distributed.os.path, "exists", lambda path: False)
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS", raising=False)
    if tasks:
        monkeypatch.setenv("SLURM_STEP_NUM_TASKS", tasks)
    assert distributed._in_a_cluster() == several


WAITING = """
import sys
from cddfuse_jax import console
from cddfuse_jax.training import distributed
distributed.TELL_SECONDS, distributed.JOIN_SECONDS = 0.1, 1
def main():
    with distributed.joined(distributed.Address("127.0.0.1:" + sys.argv[1], 2, 1), ""):
        pass
console.run(main)
"""


@pytest.mark.slow
def test_who_is_waited_for_is_printed_and_the_end_is_one_line():
    done = subprocess.run(
        [sys.executable, "-c", WAITING, str(free_port())], cwd=REPOSITORY, text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True, timeout=HANG_SECONDS,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    waiting, given_up = done.stderr.splitlines()
    assert waiting == "waiting for the other processes of this run to start and join"
    assert given_up.startswith("error: the other processes did not join within 1 s; start all")


def test_a_pair_that_memory_does_not_hold_is_its_own_error(tiny_params, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for name in "ab":
        for side in ("vi", "ir"):
            write_png(tmp_path / side / f"{name}.png", rng.integers(0, 256, (10, 12), np.uint8))
    compiled, fail = whole._compiled, iter([True, False])

    def short_of_memory(*arguments):
        def applied(*inputs):
            if next(fail):
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating")
            return compiled(*arguments)(*inputs)

        return applied

    monkeypatch.setattr(whole, "_compiled", short_of_memory)
    outcomes = Fuser(tiny_params).folder(tmp_path / "vi", tmp_path / "ir", tmp_path / "out")
    assert "a: out of memory while fusing 12x10; give a lower --max-memory" in outcomes[0].error
    assert outcomes[1].error is None
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["b.png"]


def test_limits_of_the_process_count_in_what_is_free(tmp_path, monkeypatch):
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (used + 10**8, -1))
    assert memory.available() < 1.1 * 10**8

    own, root = tmp_path / "own", tmp_path / "groups"
    assert memory.left_in_groups(own, root) == float("inf")
    own.write_text("9:cpu:/\n4:memory:/job/step\n0::/job\n")
    for folder, names, limit in (
        (root / "memory" / "job", ("memory.limit_in_bytes", "memory.usage_in_bytes"), 500),
        (root / "memory" / "job" / "step", ("memory.limit_in_bytes", "memory.usage_in_bytes"), 900),
        (root / "job", ("memory.max", "memory.current"), "max"),
    ):
        folder.mkdir(parents=True)
        for name, value in zip(names, (limit, 100), strict=True):
            (folder / name).write_text(f"{value}\n")
    assert memory.left_in_groups(own, root) == 400
    (root / "memory.max").write_text("350\n")
    (root / "memory.current").write_text("100\n")
    assert memory.left_in_groups(own, root) == 250
