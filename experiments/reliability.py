"""Write docs/reliability.md from the kept results of the attacks.

    python experiments/reliability.py

The results are those of ``tests/fuzz/inputs.py --out``, ``experiments/chaos.py`` and ``faults.py``.
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

Held by tests, not counted here: Ctrl-C, a second one and SIGTERM during deaf work
(`tests/test_stopping.py`); two programs in one folder (`tests/test_locks.py`); NaN and infinity
(`tests/test_finite.py`); hostile pickles (`tests/test_hostile_pth.py`); a full disk while patches
are cut (`tests/test_patches.py`) and while a checkpoint is saved (`tests/test_faults.py`).

Kills of the other commands, full disks (a limit on the size of files), read-only file systems, 4K
and 10,000 pairs are those of `experiments/faults.py` (`experiments/results/faults.json`): small
weights, pairs of 96x112. "Whole or absent" means that every file under its own name was opened and
read to its end, and that the same command then did its work; what a killed process leaves is a file
whose name begins with a dot.

**Not tried yet**: a full disk under TensorBoard's files; a TIFF of 40,000 pages, timed.
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
    page = HEAD + "\n".join(rows) + "\n" + TAIL
    (REPOSITORY / "docs/reliability.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
