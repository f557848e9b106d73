import os
import re

import pytest

from cddfuse_jax import console


def test_a_log_gets_a_line_now_and_then_and_others_between(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(console, "EVERY", 60.0)
    with console.progress(None, "training", total=100, unit="step") as bar:
        bar._time = lambda: clock[0]
        bar.start_t = bar.last_print_t = 0.0
        for step in range(100):
            clock[0] += 2.5
            bar.set_postfix({"total": f"{step}"}, False)
            if step == 30:
                console.report("epoch 0 is over")
            bar.update()
    said = capsys.readouterr().err
    lines = said.splitlines()
    assert lines.pop(1) == "epoch 0 is over"
    assert [re.match(r"training: (\d+) of 100 steps, ", line)[1] for line in lines] == [
        "24", "48", "72", "96"
    ]  # fmt: skip
    assert re.search(r"00:\d\d left, total=95$", lines[-1]) and "\r" not in said


def test_short_work_says_nothing_in_a_log(capsys):
    assert list(console.progress([1, 2, 3], "fusing", unit="pair")) == [1, 2, 3]
    assert capsys.readouterr().err == ""


def test_an_argument_that_begins_with_a_minus_is_explained(capsys, monkeypatch):
    monkeypatch.setattr(console.sys, "argv", ["fuse"])
    parser = console.ArgumentParser("fuse")
    parser.add_argument("--range")
    assert parser.parse_args(["--range=-1000:400"]).range == "-1000:400"
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["--range", "-1000:400"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("is joined by =, as in --range-ir=-1000:400") == 1


def test_a_reader_that_has_gone_ends_a_command_without_a_traceback(monkeypatch):
    """As ``| head`` does; another broken pipe is a fault that shows."""

    def lost():
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        console.run(lost)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as output:
        monkeypatch.setattr(console.sys, "stdout", output)
        with pytest.raises(SystemExit) as ended:
            console.run(lambda: print("line\n" * 100_000))
    assert ended.value.code == 141
    monkeypatch.setattr(console.sys, "stdout", None)  # closed, as by >&-
    with pytest.raises(SystemExit) as ended:
        console.run(lambda: 0)
    assert ended.value.code == 0
