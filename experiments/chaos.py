"""Kill a training run at random moments, saving included, and see if it ends as if never killed.

    python experiments/chaos.py [--kills 20] [--seed 0] [--out experiments/results/chaos.json]

A run is trained undisturbed; then the same command is started again and again and gets SIGKILL: in
turn the moment that a checkpoint is being written, some time after one was, and while it starts.
After the last kill it is left alone. What counts is whether every start went on from a checkpoint
no older than the newest one on disk, and whether the last state (parameters, Adam's state and step,
by the digest that each checkpoint keeps) is the undisturbed run's, bit for bit.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cddfuse_jax.weights.files import load_meta, saved_steps

REPOSITORY = Path(__file__).resolve().parents[1]
MOMENTS = ("saving", "between", "starting")
TIMEOUT = 600


def command(workdir: Path, epochs: int) -> list[str]:
    """Return the command that trains a tiny network for ``epochs`` epochs in each stage."""
    fields = {
        "model.features": 8, "model.heads": 2, "model.blocks": 1,
        "data.count": 8, "data.height": 24, "data.width": 24, "data.crop": 16,
        "reconstruction_epochs": epochs, "fusion_epochs": epochs, "checkpoint_every": 3,
        "log_every": 1, "picture_every": 1000,
    }  # fmt: skip
    options = [f"--config.{field}={value}" for field, value in fields.items()]
    config = ["--config=configs/quickstart.py", f"--workdir={workdir}"]
    return [sys.executable, "-m", "cddfuse_jax.train", *config, *options]


def unfinished(workdir: Path) -> list[str]:
    """Return the folders of checkpoints that are being written, or whose writer was killed."""
    return [path.name for path in (workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*")]


def start_and_kill(workdir: Path, epochs: int, moment: str, rng: random.Random) -> dict:
    """Start the run, kill it at a moment of that kind, and tell what happened."""
    before, leftovers = saved_steps(workdir), set(unfinished(workdir))
    wait = {"saving": 0.05, "between": 1.0, "starting": 6.0}[moment] * rng.random()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command(workdir, epochs), cwd=REPOSITORY, stdout=output, stderr=output, text=True
        )
        try:
            deadline = time.monotonic() + TIMEOUT
            while process.poll() is None and time.monotonic() < deadline:
                if moment == "starting":
                    break
                if moment == "saving" and set(unfinished(workdir)) - leftovers:
                    break
                if moment == "between" and set(saved_steps(workdir)) - set(before):
                    break
                time.sleep(0.002)
            time.sleep(wait)
        finally:
            process.kill()
            code = process.wait()
        output.seek(0)
        printed = output.read()
    resumed = re.search(r"resuming .* after step (\d+) of", printed)
    return {
        "moment": moment,
        "killed": code == -9,
        "newest_before": before[-1] if before else None,
        "resumed_after": int(resumed[1]) if resumed else None,
        "left_unfinished": len(set(unfinished(workdir)) - leftovers),
        "newest_after": (saved_steps(workdir) or [None])[-1],
        "complaints": [x for x in printed.splitlines() if "warning:" in x or "rror" in x],
    }


def finish(workdir: Path, epochs: int) -> str:
    """Train to the end and return the digest of the last state."""
    done = subprocess.run(
        command(workdir, epochs), cwd=REPOSITORY, capture_output=True, text=True, timeout=TIMEOUT
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return load_meta(workdir)["digest"]


def chaos(kills: int, seed: int, epochs: int) -> dict:
    """Return the tally of ``kills`` kills."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        undisturbed = finish(Path(folder) / "undisturbed", epochs)
        workdir, starts = Path(folder) / "disturbed", []
        for number in range(kills):
            starts.append(start_and_kill(workdir, epochs, MOMENTS[number % 3], rng))
            print(json.dumps(starts[-1]), flush=True)
        disturbed = finish(workdir, epochs)
    return {
        "kills": sum(start["killed"] for start in starts),
        "kills_that_left_an_unfinished_checkpoint": sum(s["left_unfinished"] > 0 for s in starts),
        "starts_not_from_the_newest_checkpoint": sum(
            start["resumed_after"] not in (None, start["newest_before"]) for start in starts
        ),
        "checkpoints_lost": sum(
            (start["newest_after"] or 0) < (start["newest_before"] or 0) for start in starts
        ),
        "final_state_equals_undisturbed_bit_for_bit": disturbed == undisturbed,
        "seed": seed,
        "starts": starts,
    }


def main() -> int:
    """Read the arguments, kill, and write the tally; 1 if the run did not survive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=45, help="of each stage, 2 updates each")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "experiments/results/chaos.json")
    given = parser.parse_args()
    tally = chaos(given.kills, given.seed, given.epochs)
    given.out.write_text(json.dumps(tally, indent=1) + "\n")
    print(json.dumps({name: value for name, value in tally.items() if name != "starts"}, indent=1))
    survived = tally["final_state_equals_undisturbed_bit_for_bit"]
    lost = tally["starts_not_from_the_newest_checkpoint"] + tally["checkpoints_lost"]
    return 0 if survived and not lost else 1


if __name__ == "__main__":
    sys.exit(main())
