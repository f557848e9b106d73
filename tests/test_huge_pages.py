"""When a command starts itself again to get huge pages, and that it does so once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from programs import HANG_SECONDS

from cddfuse_jax import huge_pages
from cddfuse_jax.huge_pages import wanted

GLIBC = ("glibc", "2.36")
MADVISE = "always [madvise] never\n"
REPOSITORY = Path(__file__).resolve().parents[1]


def test_the_tunable_is_added_to_what_is_there():
    told = wanted({"PATH": "/bin"}, MADVISE, GLIBC)
    assert told == {"PATH": "/bin", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    before = {"GLIBC_TUNABLES": "glibc.malloc.check=1"}
    told = wanted(before, MADVISE, GLIBC)
    assert told == {"GLIBC_TUNABLES": "glibc.malloc.check=1:glibc.malloc.hugetlb=1"}
    assert wanted(told, MADVISE, GLIBC) is None  # the second start goes on


@pytest.mark.parametrize(
    "environment, mode, libc",
    [
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, MADVISE, GLIBC),
        ({}, "[always] madvise never\n", GLIBC),
        ({}, "always madvise [never]\n", GLIBC),
        ({}, "", ("", "")),
        ({}, MADVISE, ("glibc", "2.31")),
        ({}, MADVISE, ("", "")),
    ],
)
def test_where_it_is_of_no_use_or_not_wanted_the_command_goes_on(environment, mode, libc):
    assert wanted(environment, mode, libc) is None


def test_a_command_is_started_again_as_it_was(monkeypatch):
    started = []
    monkeypatch.setattr(huge_pages, "_mode", lambda: MADVISE)
    monkeypatch.setattr(huge_pages.platform, "libc_ver", lambda: GLIBC)
    monkeypatch.setattr(huge_pages.os, "execve", lambda *call: started.append(call))
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "cddfuse_jax.fuse", "--vi", "a b"])
    monkeypatch.setenv("GLIBC_TUNABLES", "")
    huge_pages.restart()
    ((program, arguments, environment),) = started
    assert program == sys.executable
    assert arguments == [sys.executable, "-m", "cddfuse_jax.fuse", "--vi", "a b"]
    assert environment == os.environ | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def test_commands_keep_their_arguments_and_their_exit_code():
    done = subprocess.run(
        [sys.executable, "-m", "cddfuse_jax.check_data", "--vi", "no such folder", "--ir", "x"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=HANG_SECONDS,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no such folder" in done.stderr and done.stderr.count("\n") == 1
