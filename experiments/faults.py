"""Kill, starve and crowd every command that writes, and see what is left on the disk.

    python experiments/faults.py [--kills 50] [--only FAULT] [--out experiments/results/faults.json]

Each command runs undisturbed first, on drawn pairs, with the small weights. Then
it gets SIGKILL at random moments of that time, it meets a disk that is full (a limit on the size of
files, so no root is needed) and, as root, a file system that turns read-only under it. What counts:
a file under its own name is whole (it is opened and read to its end), nothing that was there before
is lost, a failure is one line with exit code 1, and the same command then does its work. Two more
faults are about size: a 4K pair under a limit of memory, 10,000 pairs in a folder.
"""

import argparse
import contextlib
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fault_commands import COMMANDS, PAIRS, Command, pictures
from PIL import Image

from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.images.image_files import write_png

REPOSITORY = Path(__file__).resolve().parents[1]


def prepare(folder: Path) -> None:
    """Draw the pairs, and videos of them."""
    for split in ("train", "test"):
        for index in range(PAIRS):
            for image, side in zip(synthetic_pair(index, 96, 112), ("vi", "ir"), strict=True):
                write_png(folder / split / side / f"{index}.png", np.uint8(image * 255))
    with contextlib.suppress(ImportError):
        import av

        for side in ("vi", "ir"):
            with av.open(str(folder / f"{side}.mp4"), "w") as container:
                stream = container.add_stream("libx264", rate=10)
                stream.width, stream.height, stream.pix_fmt = 112, 96, "yuv420p"
                for index in range(PAIRS):
                    grey = np.asarray(Image.open(folder / "train" / side / f"{index}.png"))
                    frame = av.VideoFrame.from_ndarray(np.stack([grey] * 3, -1), format="rgb24")
                    container.mux(stream.encode(frame))
                container.mux(stream.encode())


def line(command: Command, given: Path, out: Path, more: str = "") -> list[str]:
    """Return the command line."""
    words = command.arguments.replace("IN", str(given)).replace("OUT", str(out)).split()
    return [sys.executable, "-m", f"cddfuse_jax.{words[0]}", *words[1:], *more.split()]


def run(arguments: list[str], **options) -> subprocess.CompletedProcess:
    """Run a command to its end."""
    return subprocess.run(
        arguments, cwd=REPOSITORY, capture_output=True, text=True, timeout=900, **options
    )


def failures(done: subprocess.CompletedProcess) -> list[str]:
    """Return what is wrong with how a command failed."""
    told = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    wrong = [] if done.returncode == 1 else [f"exit code {done.returncode}"]
    wrong += [] if told else ["no line that begins with error:"]
    return wrong + (["a traceback"] if "Traceback" in done.stderr else [])


def complaint(check: Callable[[Path], int], out: Path) -> list[str]:
    """Return why a file that is there is not whole."""
    try:
        check(out)
    except Exception as error:  # whatever the library that reads it raises
        return [f"not whole: {type(error).__name__}: {error}"]
    return []


def kill(command: Command, given: Path, folder: Path, seconds: float, rng: random.Random) -> dict:
    """Kill one run at a random moment, then have the command do its work."""
    out = folder / "out"
    out.mkdir(parents=True)
    moment = seconds * rng.random()
    process = subprocess.Popen(
        line(command, given, out),
        cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=moment)
    process.kill()
    process.wait()
    wrong = complaint(command.whole, out)
    hidden = sum(path.name.startswith(".") for path in out.rglob("*"))
    if not wrong and not command.again and command.whole(out):  # it had ended, and says so
        shutil.rmtree(folder)
        return {"after_seconds": round(moment, 2), "wrong": [], "temporary_files_left": hidden}
    done = run(line(command, given, out, command.again))
    if done.returncode:
        wrong.append(f"afterwards: {done.stderr.strip()[-300:]}")
    else:
        wrong += complaint(command.whole, out)
    shutil.rmtree(folder)
    return {"after_seconds": round(moment, 2), "wrong": wrong, "temporary_files_left": hidden}


def full_disk(command: Command, given: Path, folder: Path) -> list[str]:
    """Return what goes wrong when no file may grow beyond a size, with an earlier output there."""
    out = folder / "out"
    out.mkdir(parents=True)
    if run(line(command, given, out)).returncode:
        return ["the command fails by itself"]
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    limit = f'ulimit -f {command.most_kib}; exec "$@"'
    done = run(["bash", "-c", limit, "bash", *line(command, given, out, command.again)])
    wrong = failures(done) if command.again else []
    wrong += complaint(command.whole, out)
    left = {path for path in out.rglob("*") if path.is_file()}
    wrong += [f"lost {path.name}" for path in before.keys() - left]
    wrong += [f"left {path.name}" for path in left - before.keys()]
    if not command.again:  # nothing may be replaced: into an empty folder then
        fresh = folder / "fresh"
        fresh.mkdir()
        wrong += failures(run(["bash", "-c", limit, "bash", *line(command, given, fresh)]))
        wrong += complaint(command.whole, fresh)
    shutil.rmtree(folder)
    return wrong


def read_only(command: Command, given: Path, folder: Path, seconds: float) -> list[str] | None:
    """Return what goes wrong when the file system turns read-only in between; None without root."""
    out = folder / "mounted"
    out.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(out)]
    if subprocess.run(mount, capture_output=True).returncode:
        return None
    try:
        process = subprocess.Popen(
            line(command, given, out),
            cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        time.sleep(0.6 * seconds)
        turned = False
        while process.poll() is None and not turned:  # refused while a file is open for writing
            again = ["mount", "-o", "remount,ro", str(out)]
            turned = subprocess.run(again, capture_output=True).returncode == 0
        output, error = process.communicate(timeout=900)
        done = subprocess.CompletedProcess([], process.returncode, output, error)
        wrong = complaint(command.whole, out)
        # It may have ended, or have had all that it needs, before the file system turned.
        return wrong + (failures(done) if done.returncode else [])
    finally:
        subprocess.run(["umount", str(out)], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def memory(folder: Path, gigabytes: float) -> dict:
    """Fuse a 3840x2160 pair under a limit of memory: how much it took."""
    rng = np.random.default_rng(0)
    for side in ("vi", "ir"):
        write_png(folder / side / "a.png", rng.integers(0, 256, (2160, 3840), np.uint8))
    budget = f"--max-memory {gigabytes}GB"
    arguments = f"fuse --weights small --vi IN/vi --ir IN/ir --out OUT {budget}"
    start = time.monotonic()
    done = run(line(Command(arguments, "", pictures, 0), folder, folder / "out"))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    refused = run(
        line(Command(arguments.replace(budget, "--max-memory 700MB"), "", pictures, 0),
             folder, folder / "refused")
    )  # fmt: skip
    return {
        "limit_gb": gigabytes,
        "exit_code": done.returncode,
        "seconds": round(time.monotonic() - start, 1),
        "peak_gb": round(peak / 1e9, 2),
        "too_little_is_told": [text for text in refused.stderr.splitlines() if "error" in text],
    }


def many(folder: Path, count: int) -> dict:
    """Fuse a folder of many pairs: the time to the first result, and memory on the way."""
    rng = np.random.default_rng(0)
    for side in ("vi", "ir"):
        write_png(folder / side / "00000.png", rng.integers(0, 256, (32, 32), np.uint8))
        for index in range(1, count):
            (folder / side / f"{index:05}.png").hardlink_to(folder / side / "00000.png")
    arguments = "fuse --weights small --vi IN/vi --ir IN/ir --out OUT"
    out = folder / "out"
    start, first, resident = time.monotonic(), 0.0, {}
    process = subprocess.Popen(
        line(Command(arguments, "", pictures, 0), folder, out),
        cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        time.sleep(0.05)
        if not first and list(out.glob("0*.png")):
            first = time.monotonic() - start
        if first:
            done = len(list(out.glob("0*.png")))
            with contextlib.suppress(OSError, StopIteration):
                kilobytes = next(x for x in status.read_text().splitlines() if "VmRSS" in x)
                resident.setdefault(done * 10 // count, int(kilobytes.split()[1]))
            time.sleep(0.5)
    return {
        "pairs": count,
        "fused": pictures(out),
        "exit_code": process.returncode,
        "seconds": round(time.monotonic() - start, 1),
        "first_result_seconds": round(first, 1),
        "resident_mb_at_each_tenth": [round(resident[i] / 1e3) for i in sorted(resident)],
    }


def main() -> int:
    """Read the arguments, attack, and write the tally; 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="over all commands")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("kills", "full", "read-only", "memory", "many"))
    parser.add_argument("--command", choices=COMMANDS, help="this one alone")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "experiments/results/faults.json")
    given = parser.parse_args()
    tally = json.loads(given.out.read_text()) if given.out.exists() else {}
    rng = random.Random(given.seed)

    def wanted(fault: str) -> bool:
        return given.only in (None, fault)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder / "in")
        for number, (what, command) in enumerate(COMMANDS.items()):
            if given.command and what != given.command:
                continue
            found = tally.setdefault("commands", {}).setdefault(what, {})
            out = folder / "undisturbed" / str(number)
            out.mkdir(parents=True)
            start = time.monotonic()
            done = run(line(command, folder / "in", out))
            seconds = time.monotonic() - start
            if done.returncode or not command.whole(out):
                raise RuntimeError(f"{what}: {done.stderr}")
            if wanted("kills"):
                count = given.kills // len(COMMANDS) + (number < given.kills % len(COMMANDS))
                found["kills"] = [
                    kill(command, folder / "in", folder / "killed", 1.1 * seconds, rng)
                    for _ in range(count)
                ]
            if wanted("full"):
                found["full_disk"] = full_disk(command, folder / "in", folder / "full")
            if wanted("read-only"):
                found["read_only"] = read_only(command, folder / "in", folder / "ro", seconds)
            print(what, json.dumps(found), flush=True)
        if wanted("memory"):
            tally["memory"] = memory(folder / "4k", 3.0)
            print(json.dumps(tally["memory"]), flush=True)
        if wanted("many"):
            tally["many"] = many(folder / "many", 10_000)
            print(json.dumps(tally["many"]), flush=True)
    given.out.write_text(json.dumps(tally, indent=1) + "\n")
    wrong = [
        each["wrong"] for found in tally["commands"].values() for each in found.get("kills", [])
    ]
    wrong += [
        found.get(f) for found in tally["commands"].values() for f in ("full_disk", "read_only")
    ]
    return 1 if any(wrong) else 0


if __name__ == "__main__":
    sys.exit(main())
