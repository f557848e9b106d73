"""Write docs/reliability.md from the kept results of the attacks.

    python experiments/reliability.py

The results are those of ``tests/fuzz/inputs.py --out``, and of ``chaos.py``, ``faults.py``,
``hostile_inputs.py`` and ``signals_and_locks.py`` beside this script.
"""

import json
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "experiments/results"
HEAD = """# What it was attacked with

Bad input is one line that says the rule, what was given and what to do; outputs are whole or
absent. This page is made by `experiments/reliability.py` from kept results.

| fault | tries | outcome |
|---|---|---|
"""
TAIL = """
Mutated inputs come from `tests/fuzz/inputs.py` (seeds from 0, `--count N` for more;
`experiments/results/fuzz.json`), a few of each kind are in the test suite. "Lost" is an error that
was no such line. Kills are those of `experiments/chaos.py` (`experiments/results/chaos.json`).

Single files and values are those of `experiments/hostile_inputs.py`
(`experiments/results/hostile.json`; most of the time and memory is JAX's start, so those of a good
command stand beside them), signals and second programs those of `experiments/signals_and_locks.py`
(`experiments/results/signals.json`).

Held by tests, at every run of the suite: signals while work is deaf to them
(`tests/test_stopping.py`); hostile pickles (`tests/test_hostile_pth.py`); NaN and infinity
(`tests/test_finite.py`); outputs over inputs and existing files (`tests/test_outputs.py`);
checkpoints damaged file by file (`tests/test_faults.py`); a full disk under a checkpoint and under
TensorBoard's file (`tests/test_killed_runs.py`) and while patches are cut
(`tests/test_patches.py`); strangers, wrong keys and taken numbers at the port where processes meet,
and the loss of any process (`tests/test_processes.py`, `tests/test_killed_runs.py`).

Kills of the other commands, full disks (a limit on the size of files), read-only file systems, 4K
and 10,000 pairs are those of `experiments/faults.py` (`experiments/results/faults.json`): small
weights, pairs of 96x112. "Whole or absent" means that every file under its own name was opened and
read to its end, and that the same command then did its work; what a killed process leaves is a file
whose name begins with a dot.
"""


def fault_rows(faults: dict) -> list[str]:
    """Return the rows of kills, disks and sizes."""
    rows = []
    for what, found in faults["commands"].items():
        kills = found["kills"]
        bad = sum(bool(each["wrong"]) for each in kills)
        hidden = sum(bool(each["temporary_files_left"]) for each in kills)
        rows.append(
            f"| SIGKILL during `{what}` | {len(kills)} | {len(kills) - bad} times whole or "
            f"absent, {bad} not; {hidden} left a temporary file |"
        )
    for fault, words in (("full_disk", "full disk"), ("read_only", "read-only file system")):
        tried = {what: found[fault] for what, found in faults["commands"].items()}
        bad = "; ".join(f"`{what}`: {', '.join(bad)}" for what, bad in tried.items() if bad)
        fine = sum(not wrong for wrong in tried.values())
        rows.append(
            f"| {words}, each command once | {len(tried)} | {fine} ended in one line, nothing "
            f"lost or half-written{'; not so ' + bad if bad else ''} |"
        )
    memory, many = faults["memory"], faults["many"]
    rows.append(
        f"| 3840x2160 under a limit of {memory['limit_gb']:g} GB | 1 | peak "
        f"{memory['peak_gb']} GB, {memory['seconds']:.0f} s; "
        "too small a limit is told before the work |"
    )
    tenths = many["resident_mb_at_each_tenth"]
    rows.append(
        f"| {many['pairs']:,} pairs in a folder | 1 | {many['fused']:,} fused in "
        f"{many['seconds']:.0f} s, the first after {many['first_result_seconds']} s; memory "
        f"{min(tenths)} to {max(tenths)} MB from the first tenth to the last |"
    )
    return rows


def hostile_rows(hostile: dict) -> list[str]:
    """Return the rows of single hostile inputs, each a command of its own."""
    rows = []
    for case in hostile["cases"].values():
        like = hostile["good"][case["like"]]
        done = "done" if case["exit_code"] == 0 else f"one line, exit code {case['exit_code']}"
        bad = f"; WRONG: {', '.join(case['wrong'])}" if case["wrong"] else ""
        rows.append(
            f"| {case['words']} | 1 | {done}; {case['seconds']} s, {case['peak_mb']} MB (a good "
            f"`{case['like']}`: {like['seconds']} s, {like['peak_mb']} MB){bad} |"
        )
    return rows


def signal_rows(signals: dict) -> list[str]:
    """Return the rows of Ctrl-C, SIGTERM and two programs in one folder."""
    rows = []
    for what, tries in signals["signals"].items():
        bad = sorted({word for each in tries for word in each["wrong"]})
        codes = sorted({each["exit_code"] for each in tries})
        names = {-15: "by SIGTERM", 0: "with 0 (finished, or saved)"}
        ends = " or ".join(names.get(code, f"with {code}") for code in codes)
        slowest = max(each["ended_after_seconds"] for each in tries)
        rows.append(
            f"| {what} | {len(tries)} | ended {ends}, at most {slowest} s after the signal, all "
            f"files whole{'; WRONG: ' + ', '.join(bad) if bad else ''} |"
        )
    for what, found in signals["two_programs"].items():
        bad = f"; WRONG: {', '.join(found['wrong'])}" if found["wrong"] else ""
        rows.append(
            f"| a second `{what}` where one is at work | 1 | the second: one line, exit code "
            f"{found['exit_code']}; the first goes on{bad} |"
        )
    return rows


def main() -> None:
    """Read the results and write the page."""
    rows = []
    for kind, tally in json.loads((RESULTS / "fuzz.json").read_text())["kinds"].items():
        tries = tally["taken"] + tally["refused"] + tally["FELL"]
        rows.append(
            f"| mutated {kind} | {tries} | {tally['taken']} read, {tally['refused']} refused "
            f"in one line, {tally['FELL']} lost |"
        )
    chaos = json.loads((RESULTS / "chaos.json").read_text())
    same = "is" if chaos["final_state_equals_undisturbed_bit_for_bit"] else "is NOT"
    rows.append(
        f"| SIGKILL while training | {chaos['kills']} | {chaos['checkpoints_lost']} checkpoints "
        f"lost; the last state {same} an undisturbed run's, bit for bit |"
    )
    rows += fault_rows(json.loads((RESULTS / "faults.json").read_text()))
    rows += hostile_rows(json.loads((RESULTS / "hostile.json").read_text()))
    rows += signal_rows(json.loads((RESULTS / "signals.json").read_text()))
    page = HEAD + "\n".join(rows) + "\n" + TAIL
    (REPOSITORY / "docs/reliability.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
