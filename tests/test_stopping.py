"""Ctrl-C and SIGTERM while work is deaf to them, as compiled code is; how a process ends."""

import signal
import subprocess
import sys
import textwrap
import time

import pytest
from programs import REPOSITORY

INTERRUPTED = "interrupted: files already written are whole, nothing else was kept\n"
TERMINATED = INTERRUPTED.replace("interrupted", "terminated")
STOPPED = "stopped at once: checkpoints already written are whole, nothing else was kept\n"


def begin(work: str, folder) -> subprocess.Popen:
    """Start a program that does ``work``, and wait until it prints "ready"."""
    code = f"""
        import sys, time
        from cddfuse_jax import files
        from cddfuse_jax.errors import InputError
        from cddfuse_jax.runtime import program, stopping

        def main():
            {textwrap.indent(textwrap.dedent(work), " " * 12).strip()}

        program.start(main)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(folder)],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


DEAF = """
    with files.replacing(sys.argv[1] + "/out.png") as temporary:
        temporary.write_text("half")
        print("ready", flush=True)
        time.sleep(60)  # one call, which no exception raised in this thread ends
"""
BUSY = """
    with files.replacing(sys.argv[1] + "/out.png") as temporary:
        temporary.write_text("half")
        print("ready", flush=True)
        while True:
            time.sleep(0.01)
"""
SAVING = """
    asked = []
    stopping.save_first(asked.append)
    print("ready", flush=True)
    while not asked:
        time.sleep(0.01)
    time.sleep(float(sys.argv[1]))
    print("saved")
    return 130 if asked[0] == 2 else 0
"""


@pytest.mark.parametrize("work", [DEAF, BUSY])
@pytest.mark.parametrize(
    ("signals", "code", "told"),
    [
        ((signal.SIGINT,), 130, INTERRUPTED),
        ((signal.SIGINT, signal.SIGINT), 130, INTERRUPTED),
        ((signal.SIGTERM,), -signal.SIGTERM, TERMINATED),
    ],
    ids=["SIGINT", "twice", "SIGTERM"],
)
def test_work_is_ended_with_one_line_and_leaves_nothing(tmp_path, work, signals, code, told):
    process = begin(work, tmp_path)
    for number in signals:
        process.send_signal(number)
    started = time.monotonic()
    assert process.communicate(timeout=30)[1] == told
    assert process.returncode == code
    assert time.monotonic() - started < 20
    assert not list(tmp_path.iterdir())


DROPPING = """
    import weakref

    class Thing: pass

    def drop(_):
        while not stop:  # what is raised here is dropped, and only then does the work go on
            time.sleep(0.01)

    stop = []
    thing = Thing()
    reference = weakref.ref(thing, drop)
    print("ready", flush=True)
    del thing
    started = time.monotonic()
    while time.monotonic() - started < 60:
        time.sleep(0.01)
"""


def test_a_ctrl_c_that_python_drops_comes_again(tmp_path):
    process = begin(DROPPING, tmp_path)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == INTERRUPTED
    assert process.returncode == 130


def test_the_line_comes_at_once_though_the_work_is_deaf(tmp_path):
    process = begin(DEAF, tmp_path)
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == INTERRUPTED
    assert process.poll() is None  # it has still its time to tidy up
    process.communicate(timeout=30)


@pytest.mark.parametrize(
    ("number", "name", "code"),
    [(signal.SIGINT, "Ctrl-C: saving after this update; again", 130),
     (signal.SIGTERM, "SIGTERM: saving after this update; Ctrl-C", 0)],
)  # fmt: skip
def test_work_that_saves_is_asked_first(number, name, code):
    process = begin(SAVING, 0)
    process.send_signal(number)
    assert process.communicate(timeout=30) == ("saved\n", f"{name} to stop now\n")
    assert process.returncode == code


# Received by another thread than the one that waits for it, as the system may choose to.
ELSEWHERE = """
    import signal, threading
    asked = []
    stopping.save_first(asked.append)
    print("ready", flush=True)
    time.sleep(0.5)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    while not asked:
        time.sleep(0.01)
    print("saved")
    return 0
"""


def test_a_signal_that_another_thread_received_is_answered():
    process = begin(ELSEWHERE, 0)
    said, told = process.communicate(timeout=30)
    assert (said, process.returncode) == ("saved\n", 0)
    assert told == "SIGTERM: saving after this update; Ctrl-C to stop now\n"


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_and_ended_by_the_second_signal(second):
    process = begin(SAVING, 60)
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline().startswith("Ctrl-C: saving")
    process.send_signal(second)
    assert process.communicate(timeout=30) == ("", STOPPED)
    assert process.returncode == (130 if second == signal.SIGINT else -second)


@pytest.mark.parametrize(
    ("work", "code", "told"),
    [
        ("print('ready')", 0, ""),
        ("print('ready'); return 1", 1, ""),
        ("print('ready'); sys.exit(2)", 2, ""),
        ("print('ready'); raise InputError('no')", 2, "error: no\n"),
        ("print('ready'); raise ValueError('odd')", 1, "ValueError: odd\n"),
    ],
)
def test_undisturbed_work_ends_as_it_says(work, code, told):
    process = begin(work, 0)
    error = process.communicate(timeout=30)[1]
    assert error.endswith(told) and bool(error) == bool(told)
    assert process.returncode == code
