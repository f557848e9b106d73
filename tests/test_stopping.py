"""Ctrl-C and SIGTERM while work is deaf to them, as compiled code is; how a process ends."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from PIL import Image
from programs import HANG_SECONDS, REPOSITORY

pytestmark = pytest.mark.slow
KEPT = "files already written are whole, nothing else was kept\n"
SAVING_SAID = "Ctrl-C: saving after this update; Ctrl-C to stop at once\n"


def begin(work: str, argument: object = "") -> subprocess.Popen:
    """Start a program that does ``work``, and wait until it prints "ready"."""
    code = f"""
        import hashlib, sys, threading, time
        from cddfuse_jax import console, files, signals
        from cddfuse_jax.errors import InputError

        def main():
            {textwrap.indent(textwrap.dedent(work), " " * 12).strip()}

        console.run(main)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(argument)],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


BUSY = """
    with files.replacing(sys.argv[1] + "/out.png") as temporary:
        temporary.write_text("half")
        print("ready", flush=True)
        while True:
            time.sleep(0.01)
"""
DEAF = """
    with files.replacing(sys.argv[1] + "/out.png") as temporary:
        temporary.write_text("half")
        threading.Timer(1, print, ["ready"], {"flush": True}).start()  # when it is deaf
        hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)  # one call, for minutes
"""
SAVING = """
    asked = []
    signals.save_first(asked.append)
    print("ready", flush=True)
    while not asked:
        time.sleep(0.01)
    time.sleep(float(sys.argv[1]))
    print("saved")
    return 130 if asked[0] == 2 else 0
"""


@pytest.mark.parametrize(
    ("work", "sent", "code", "said"),
    [
        (BUSY, [signal.SIGINT], 130, f"interrupted: {KEPT}"),
        (BUSY, [signal.SIGTERM], 143, f"terminated: {KEPT}"),
        (DEAF, [signal.SIGTERM], 143, f"terminated: {KEPT}"),
        (DEAF, [signal.SIGINT, signal.SIGINT], 130, f"stopped at once: {KEPT}"),
    ],
    ids=["Ctrl-C", "SIGTERM", "SIGTERM while deaf", "twice while deaf"],
)
def test_work_is_ended_with_one_line_and_leaves_nothing(tmp_path, work, sent, code, said):
    process = begin(work, tmp_path)
    process.send_signal(sent[0])
    while len(sent) > 1 and process.poll() is None:
        time.sleep(0.3)  # two that come close together are one
        process.send_signal(sent[1])
    assert process.communicate(timeout=HANG_SECONDS)[1] == said
    assert process.returncode == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_work_that_can_save_is_asked_to(number, code):
    process = begin(SAVING, 0)
    process.send_signal(number)
    said, error = process.communicate(timeout=HANG_SECONDS)
    assert (said, process.returncode) == ("saved\n", code)
    assert error.endswith(": saving after this update; Ctrl-C to stop at once\n")


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_and_ended_by_the_second_signal(second):
    process = begin(SAVING, 60)
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == SAVING_SAID
    process.send_signal(second)
    assert process.communicate(timeout=HANG_SECONDS) == ("", f"stopped at once: {KEPT}")
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("work", "code", "said"),
    [
        ("print('ready')", 0, ""),
        ("print('ready'); return 1", 1, ""),
        ("print('ready'); sys.exit(2)", 2, ""),
        ("print('ready'); raise InputError('no')", 2, "error: no\n"),
        ("print('ready'); raise ValueError('odd')", 1, "ValueError: odd\n"),
        ("print('ready'); raise OSError(28, 'No space left on device', 'f')", 1,
         "error: f could not be written: No space left on device\n"),
    ],
)  # fmt: skip
def test_undisturbed_work_ends_as_it_says(work, code, said):
    process = begin(work)
    error = process.communicate(timeout=HANG_SECONDS)[1]
    assert error.endswith(said) and bool(error) == bool(said)
    assert process.returncode == code


@pytest.mark.parametrize("command", ["fuse", "train"])
def test_a_platform_that_jax_does_not_have_is_one_line(monkeypatch, tmp_path, command):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    given = {"fuse": ["--vi", "a.png", "--ir", "b.png", "--out", "out"],
             "train": ["--config", "quickstart", "--workdir", "out"]}  # fmt: skip
    for name in ("a", "b"):
        Image.new("L", (8, 8)).save(tmp_path / f"{name}.png")
    done = subprocess.run(
        [sys.executable, "-m", f"cddfuse_jax.{command}", *given[command]],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True,
        text=True, timeout=HANG_SECONDS,
    )  # fmt: skip
    assert done.returncode == 2
    assert re.fullmatch("error: JAX_PLATFORMS=cuda: JAX cannot use .*\n", done.stderr)
