"""Write docs/reliability.md from the kept results of the attacks.

    python experiments/reliability.py

The results are those of ``tests/fuzz/inputs.py --out`` and ``experiments/chaos.py``.
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

**Not tried yet**: SIGKILL or a full disk during fusing to a video, TFDS building, conversion and
export; a full disk under TensorBoard's files; a file system that turns read-only; a limit of memory
while 4K is fused; 10,000 pairs in a folder; kills at random moments of other commands than `train`.
"""


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
    page = HEAD + "\n".join(rows) + "\n" + TAIL
    (REPOSITORY / "docs/reliability.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
