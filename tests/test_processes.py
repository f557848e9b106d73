"""Processes that find each other: who is let in, what they say, how each hears of a loss."""

import asyncio
import contextlib
import re
import socket
import struct
import threading
import time

import pytest
from programs import free_port, run_together

from cddfuse_jax.distributed import hub, member
from cddfuse_jax.distributed.address import Address
from cddfuse_jax.distributed.clusters import first_host, slurm_address
from cddfuse_jax.distributed.member import Member
from cddfuse_jax.errors import InputError

HOSTILE = (
    b'{"token": "\xc3\xa9"}',
    b"[" * 4000,
    b'{"number": 1, "count": "\\u001b[31m", "run": {}, "proof": "\\ud800"}',
)
RUN = {"version of cddfuse-jax": "1", "configuration": "a"}


class Quiet(Member):
    """A process that notes how it would end, and lives on."""

    ended: tuple[str, int] | None = None

    def _end(self, line, code):
        self.ended = line, code
        raise asyncio.CancelledError


def together(*members: Member) -> list[str]:
    """Have all join at once; return their errors, empty for those that have joined."""
    errors = [""] * len(members)

    def join(place):
        try:
            members[place].join()
        except InputError as error:
            errors[place] = str(error)

    threads = [threading.Thread(target=join, args=(i,)) for i in range(len(members))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return errors


@pytest.fixture
def place():
    return "127.0.0.1", free_port()


@pytest.fixture
def quick(monkeypatch):
    """Beats of 50 ms; half a second of silence is a loss."""
    for module in (hub, member):
        monkeypatch.setattr(module, "BEAT_SECONDS", 0.05)


def wait_for(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_all_give_comes_to_all_in_order(place):
    members = [Quiet(place, i, 3, RUN) for i in range(3)]
    assert together(*members) == ["", "", ""]
    found = [None] * 3
    long = "x" * 3_000_000  # as many scores as a large folder has

    def talk(i):
        found[i] = [members[i].gather([i, 0.1]), members[i].gather(long if i == 1 else i)]
        members[i].leave()

    threads = [threading.Thread(target=talk, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [[[[0, 0.1], [1, 0.1], [2, 0.1]], [0, long, 2]]] * 3
    for one in reversed(members):
        one.close()
    assert [one.ended for one in members] == [None] * 3


def test_all_stop_after_the_same_update(place):
    """One is ahead of the others when two are asked to stop; then nobody begins another."""
    members = [Quiet(place, i, 3, RUN) for i in range(3)]
    assert together(*members) == ["", "", ""]
    for one, step in zip(members, (7, 8, 7), strict=True):
        assert not one.agreement.ends_at(step)
    members[1].stop_all()
    members[2].stop_all()
    wait_for(lambda: all(one.agreement._last.done() for one in members))
    made = []
    for one, step in zip(members, (7, 8, 7), strict=True):
        while not one.agreement.ends_at(step + 1):
            step += 1
        made.append(step + 1)
    assert made == [9, 9, 9]
    for one in reversed(members):
        one.close()


def test_one_that_has_made_no_update_yet_stops_with_the_others(place):
    members = [Quiet(place, i, 2, RUN) for i in range(2)]
    assert together(*members) == ["", ""]
    members[0].stop_all()
    wait_for(lambda: all(one.agreement._last.done() for one in members))
    assert [one.agreement.ends_at(101) for one in members] == [True, True]  # resumed after 100
    for one in reversed(members):
        one.close()


@pytest.mark.parametrize(
    "number, count, run, key, reason",
    [
        (0, 2, RUN, "", "cannot listen there"),
        (1, 3, RUN, "", "process 1 was told of 3 processes, process 0 of 2"),
        (1, 2, RUN | {"configuration": "b"}, "", "has another configuration than process 0"),
        (1, 2, {"configuration": "b"}, "", "another version of cddfuse-jax and configuration than"),
        (1, 2, RUN, "guess", "has another CDDFUSE_RUN_KEY than process 0"),
    ],
)
def test_who_does_not_belong_is_refused_and_the_others_go_on(
    place, number, count, run, key, reason
):
    first, second = (Quiet(place, i, 2, RUN) for i in range(2))
    starting = threading.Thread(target=lambda: together(first))
    starting.start()
    wait_for(lambda: first.coordinator)
    (error,) = together(Quiet(place, number, count, run, key))
    assert error.startswith(f"--coordinator 127.0.0.1:{place[1]}: ") and reason in error
    assert together(second) == [""]
    (error,) = together(Quiet(place, 1, 2, RUN))
    assert "there is a process 1 already; give each a --process_id of its own" in error
    starting.join(10)
    assert (first.ended, second.ended) == (None, None)
    second.close()
    first.close()


def test_strangers_on_the_port_are_not_let_in(place, capsys, caplog):
    """Noise, a hello of a gigabyte, hostile JSON, silence: the run neither ends nor waits."""
    first, second = (Quiet(place, i, 2, RUN) for i in range(2))
    starting = threading.Thread(target=lambda: together(first))
    starting.start()
    wait_for(lambda: first.coordinator)
    strangers = [socket.create_connection(place, timeout=10) for _ in range(7)]
    strangers[0].sendall(b"GET / HTTP/1.1\r\n\r\n")
    strangers[1].sendall(b"\x40\0\0\0" + b"{" * 1000)
    strangers[2].sendall(b"\0\0\0\x10" + b'{"token":"guess"')
    for stranger, hello in zip(strangers[3:6], HOSTILE, strict=True):
        stranger.sendall(struct.pack("!I", len(hello)) + hello)
    assert together(second) == [""]
    for stranger in strangers[:6]:
        with contextlib.suppress(ConnectionError):
            while stranger.recv(4096):
                pass  # what it is told before the hub hangs up
    assert (first.ended, second.ended) == (None, None)
    for one in (second, first, *strangers):
        one.close()
    assert "\x1b" not in capsys.readouterr().err
    assert [record.getMessage() for record in caplog.records] == []  # asyncio tells of tracebacks


def test_no_process_0_and_others_that_do_not_come_are_told(place, monkeypatch):
    monkeypatch.setattr(member, "JOIN_SECONDS", 0.5)
    (error,) = together(Quiet(place, 1, 2, RUN))
    assert "process 0 does not answer there" in error
    errors = together(*(Quiet(place, i, 4, RUN) for i in (0, 2)))
    assert all("process 1, 3 of 4 did not come within 0 s" in error for error in errors)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_vanishes_or_falls_silent_ends_the_others(place, quick, victim):
    members = [Quiet(place, i, 3, RUN) for i in range(3)]
    assert together(*members) == ["", "", ""]
    lost = members[victim]
    if victim:  # as if its machine had gone
        lost._writer.transport.abort()
        what = "cannot be reached"
    else:  # as if it had been stopped
        lost._loop.call_soon_threadsafe(time.sleep, 3)
        what = "has been silent for"
    others = [one for one in members if one is not lost]
    wait_for(lambda: all(one.ended for one in others))
    for one in others:
        line, code = one.ended
        assert re.match(rf"process {victim} of this run {what}.*: start all of them again", line)
        assert code == 1


def test_the_reason_of_a_failure_reaches_the_others(place):
    members = [Quiet(place, i, 3, RUN) for i in range(3)]
    assert together(*members) == ["", "", ""]
    with pytest.raises(asyncio.CancelledError):
        members[1].fail(InputError("no such folder: x"))
    assert members[1].ended == ("no such folder: x", 2)
    wait_for(lambda: members[0].ended and members[2].ended)
    for one in (members[0], members[2]):
        assert one.ended[0].startswith("process 1 of this run failed (no such folder: x); ")


@pytest.mark.parametrize(
    "hosts, first",
    [
        ("node001", "node001"),
        ("node001,host2", "node001"),
        ("node[001-015],host2", "node001"),
        ("node[007,009-015]", "node007"),
        ("a,node[007,009-015]", "a"),
        ("rack[2-3]-gpu,b", "rack2-gpu"),
    ],
)
def test_slurms_lists_begin_with_the_first_host(hosts, first):
    assert first_host(hosts) == first


def test_slurms_tasks_meet_at_the_first_host():
    task = {
        "SLURM_JOB_ID": "5000", "SLURM_STEP_NODELIST": "n[3-4]", "SLURM_NTASKS": "2",
        "SLURM_PROCID": "1", "SLURM_LOCALID": "0",
    }  # fmt: skip
    assert slurm_address(task) == Address("n3:62344", 2, 1)  # 61440 + 5000 % 4096
    assert slurm_address(task | {"SLURM_NTASKS": "1"}) is None
    del task["SLURM_STEP_NODELIST"]  # a shell in a job, outside of srun
    assert slurm_address(task) is None


KNOWN = """
import argparse, jax
from cddfuse_jax.distributed import address, processes
from cddfuse_jax.errors import InputError
parser = argparse.ArgumentParser()
address.add_options(parser)
given = parser.parse_args()
jax.distributed.initialize(given.coordinator, given.num_processes, given.process_id)
try:
    processes.check_all_joined()
except InputError as error:
    print(error)
with processes.joined():
    processes.check_all_joined()
    print(processes.gather(10 * processes.number()))
print(processes.count())
"""


def test_what_jax_has_joined_already_is_joined_too():
    """As on a TPU pod, where JAX finds the processes by itself."""
    codes, outputs, errors = run_together(["-c", KNOWN], 2)
    assert codes == [0, 0], errors
    for output in outputs:
        refused, *rest = [x for x in output.splitlines() if "Gloo" not in x]
        assert refused.startswith("JAX sees 2 processes, this run 1: work inside ")
        assert rest == ["[0, 10]", "1"]
