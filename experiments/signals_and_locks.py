"""Interrupt commands at random moments, and start two in one folder: how they end.

    python experiments/signals_and_locks.py [--tries 5] [--out experiments/results/signals.json]

`train` with a network that takes its time to compile, and `fuse` of a folder, get one Ctrl-C, two
of them, or SIGTERM at a random moment after their first second. Fine is: ended within ten seconds
of the last signal, with 130 for Ctrl-C, by SIGTERM itself or with 0 after a saved state, no
traceback, and every file under its own name whole.
"""

import argparse
import itertools
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fault_commands import COMMANDS, pictures
from faults import REPOSITORY, line, prepare

TRAIN = [
    sys.executable, "-m", "cddfuse_jax.train", "--config=quickstart",
    "--config.model.features=20", "--config.model.heads=4", "--config.batch_size=2",
]  # fmt: skip
SENT = {
    "Ctrl-C": [signal.SIGINT],
    "Ctrl-C twice": [signal.SIGINT, signal.SIGINT],
    "SIGTERM": [signal.SIGTERM],
}
GRACE = 10.0  # seconds


def start(command: list[str]) -> subprocess.Popen:
    """Start a command in the repository."""
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=pipe, stderr=pipe, text=True)


def interrupted(command: list[str], signals: list[int], after: float) -> dict:
    """Send signals to a command, half a second apart; return how it ended."""
    process = start(command)
    time.sleep(after)
    for number in signals:
        process.send_signal(number)
        time.sleep(0.5)
    sent = time.monotonic()
    try:
        _, error = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        _, error = process.communicate()
    seconds = time.monotonic() - sent
    fine = {130} if signals[0] == signal.SIGINT else {-signal.SIGTERM, 0}
    wrong = [] if process.returncode in fine | {0} else [f"exit code {process.returncode}"]
    wrong += ["a traceback"] if "Traceback" in error else []
    # One signal to `train` lets the update that runs, and its compiling, come to their end.
    patient = "cddfuse_jax.train" in command and len(signals) == 1
    wrong += [f"{seconds:.0f} s"] if seconds > GRACE and not patient else []
    told = [text for text in error.splitlines() if "Ctrl-C" in text or "interrupted" in text
            or "terminated" in text or "stopped" in text]  # fmt: skip
    return {
        "after_seconds": round(after, 1), "exit_code": process.returncode,
        "ended_after_seconds": round(seconds, 1), "told": told, "wrong": wrong,
    }  # fmt: skip


def second_is_told(first: list[str], second: list[str], ready: Path) -> dict:
    """Start a second command where a first is at work; return how the second one ended."""
    process = start(first)
    try:
        deadline = time.monotonic() + 120
        while not ready.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1)
        done = subprocess.run(second, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
        at_work = process.poll() is None
    finally:
        process.kill()
        process.communicate()
    told = [text for text in done.stderr.splitlines() if "error: " in text]
    wrong = [] if done.returncode == 2 and len(told) == 1 else [f"exit code {done.returncode}"]
    wrong += [] if at_work else ["the first ended"]
    return {"exit_code": done.returncode, "wrong": wrong}


def main() -> int:
    """Read the arguments, try, and write the tally; 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=5, help="of each signal and command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "experiments/results/signals.json")
    given = parser.parse_args()
    rng, tally = random.Random(given.seed), {"signals": {}, "two_programs": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder / "in")
        for what, signals in SENT.items():
            for program in ("train", "fuse"):
                rows = []
                for number in range(given.tries):
                    out = folder / f"{program}{len(tally['signals'])}_{number}"
                    out.mkdir()
                    if program == "train":
                        command = [*TRAIN, f"--workdir={out}"]
                        # Two come while it compiles; one costs the whole compiling.
                        after = rng.uniform(1.5, 10)
                    else:
                        command = line(COMMANDS["fuse"], folder / "in", out)
                        after = rng.uniform(1.0, 2.5)
                    row = interrupted(command, signals, after)
                    pictures(out)  # raises if one is not whole
                    rows.append(row)
                tally["signals"][f"{what} during `{program}`"] = rows
                print(what, program, json.dumps(rows), flush=True)
        run, out = folder / "run", folder / "watched"
        train = [*TRAIN, f"--workdir={run}"]
        tally["two_programs"]["train"] = second_is_told(train, train, run)
        fuse = line(COMMANDS["fuse"], folder / "in", out)
        tally["two_programs"]["fuse"] = second_is_told([*fuse, "--watch"], fuse, out / "0.png")
        print(json.dumps(tally["two_programs"]), flush=True)
    given.out.write_text(json.dumps(tally, indent=1) + "\n")
    rows = itertools.chain(*tally["signals"].values(), tally["two_programs"].values())
    return int(any(row["wrong"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
