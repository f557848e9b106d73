"""Give commands files and values that were made to harm: how they end, how long, how much memory.

    python experiments/hostile_inputs.py [--only CASE] [--out experiments/results/hostile.json]

Each case is a command of its own. Its seconds and its peak of memory stand beside those of the same
command on a good file, because most of both is JAX's start. A case is survived if it ends in lines
that begin with "error:", with exit code 1 or 2 and no traceback, and leaves no output; or, where
the file is odd but good, if it ends well.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
FUSE = "fuse --weights small --vi IN/vi.png --ir IN/ir.png --out OUT/f.png"
WEIGHTS = "fuse --weights IN/BAD --vi IN/vi.png --ir IN/ir.png --out OUT/f.png"
TRAIN = "train --config=quickstart --workdir=OUT/run"
PATCHES = f"{TRAIN} --config.data.source=hdf5 --config.data.file=IN/BAD"


class Case(NamedTuple):
    """Something to be survived.

    Attributes:
        words: for the table.
        like: the good command of `GOOD` that it is beside.
        command: after ``python -m cddfuse_jax.``; IN and OUT stand for folders, BAD for a file.
        good: whether it is odd but good, and so to be done.
    """

    words: str
    like: str
    command: str
    good: bool = False


GOOD = {
    "fuse": FUSE,
    "train": f"{TRAIN} --config.reconstruction_epochs=0 --config.fusion_epochs=1",
}
CASES = {
    "pages.tif": Case(
        "a TIFF of 40,000 pages, of which the first is taken", "fuse",
        FUSE.replace("ir.png", "BAD"), True,
    ),
    "bomb.png": Case(
        "a PNG of 70 bytes that promises 60,000x60,000", "fuse", FUSE.replace("ir.png", "BAD")
    ),
    "script.png": Case(
        "PostScript named .png: Ghostscript is not started", "fuse", FUSE.replace("ir.png", "BAD")
    ),
    "fifo.png": Case(
        "a FIFO that nobody writes to", "fuse", FUSE.replace("ir.png", "BAD")
    ),
    "device.png": Case("a link to /dev/zero", "fuse", FUSE.replace("ir.png", "BAD")),
    "loop.png": Case("a symlink to itself", "fuse", FUSE.replace("ir.png", "BAD")),
    "esc\x1b[31m\udcff.png": Case(
        "a broken image with an escape sequence and bytes that are not UTF-8 in its name", "fuse",
        FUSE.replace("ir.png", "BAD"),
    ),
    "nan.npy": Case(
        "an image with a NaN", "fuse", FUSE.replace("ir.png", "BAD")
    ),
    "--fps": Case(
        "`--fps 1e99999999`", "fuse",
        "fuse --weights small --vi IN/vi.mp4 --ir IN/ir.mp4 --out OUT/f.mp4 --fps 1e99999999",
    ),
    "sparse.pth": Case("a `.pth` of 64 GB, nearly all of it a hole", "fuse", WEIGHTS),
    "huge.pth": Case("a `.pth` whose tensor promises 10^15 numbers", "fuse", WEIGHTS),
    "keys.pth": Case("a `.pth` with keys that take 2^200 steps to hash", "fuse", WEIGHTS),
    "deep.pth": Case("a `.pth` with tuples 100,000 deep", "fuse", WEIGHTS),
    "shared.pth": Case(
        "a `.pth` of 1,000 tensors that share 4 MB by strides of 0", "fuse", WEIGHTS
    ),
    "features.pth": Case("a `.pth` of a network with 10^6 features", "fuse", WEIGHTS),
    "nan.safetensors": Case("weights with a NaN", "fuse", WEIGHTS),
    "header.safetensors": Case("safetensors with a header of 2^60 bytes", "fuse", WEIGHTS),
    "other model": Case("an Orbax folder of another model", "fuse", WEIGHTS),
    "links.h5": Case("HDF5 with dangling links", "train", PATCHES),
    "billion.h5": Case("HDF5 with a dataset that promises 10^12 numbers", "train", PATCHES),
    "many.h5": Case("HDF5 with 100,000 empty datasets", "train", PATCHES),
    "bytes.h5": Case("HDF5 with values of 0 to 255", "train", PATCHES),
    "--keep": Case("`keep_checkpoints=0`", "train", f"{TRAIN} --config.keep_checkpoints=0"),
    "--rates": Case(
        "batch_size=0, log_every=0, learning_rate.initial=-1, clip_norm=0, epochs of -5, told at "
        "once", "train",
        f"{TRAIN} --config.batch_size=0 --config.log_every=0 --config.learning_rate.initial=-1 "
        "--config.clip_norm=0 --config.fusion_epochs=-5",
    ),
    "--over input": Case(
        "an output that is the input, with `--overwrite`", "fuse",
        FUSE.replace("OUT/f.png", "IN/ir.png --overwrite"),
    ),
}  # fmt: skip


def measure(command: str, bad: str, given: Path, out: Path) -> dict:
    """Run a command; return how it ended, its seconds and its peak of memory in MB."""
    out.mkdir(parents=True)
    words = [
        word.replace("IN", str(given)).replace("OUT", str(out)).replace("BAD", bad)
        for word in command.split()
    ]
    line = [sys.executable, "-m", f"cddfuse_jax.{words[0]}", *words[1:]]
    started = time.monotonic()
    with open(out.parent / "stderr", "w+b") as told:
        process = subprocess.Popen(line, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=told)
        _, status, usage = os.wait4(process.pid, 0)
        told.seek(0)
        error = told.read().decode(errors="replace")
    return {
        "exit_code": os.waitstatus_to_exitcode(status),
        "seconds": round(time.monotonic() - started, 1),
        "peak_mb": round(usage.ru_maxrss / 1e3),
        "notes": [x for x in error.splitlines() if x.startswith(("note: ", "warning: "))],
        "errors": [x for x in error.splitlines() if "error: " in x or "Traceback" in x],
        "printable": all(x.isprintable() for x in error.splitlines()),
        "left": sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()),
    }


def verdict(case: Case, found: dict) -> list[str]:
    """Return what is wrong with how a case ended."""
    wrong = [] if found["exit_code"] in ([0] if case.good else [1, 2]) else ["exit code"]
    wrong += [] if case.good or len(found["errors"]) == 1 else ["not one line of error"]
    wrong += ["traceback"] if any("Traceback" in line for line in found["errors"]) else []
    wrong += [] if found["printable"] else ["control codes"]
    return wrong + (["left files"] if found["left"] and not case.good else [])


def main() -> int:
    """Read the arguments, try all cases, and write the tally; 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="the cases whose names hold this")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "experiments/results/hostile.json")
    given = parser.parse_args()
    tally = json.loads(given.out.read_text()) if given.out.exists() else {"good": {}, "cases": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "given").mkdir()
        subprocess.run(
            [sys.executable, "experiments/hostile_files.py", str(folder / "given")],
            cwd=REPOSITORY, check=True,
        )  # fmt: skip
        for what, command in GOOD.items():
            measure(command, "", folder / "given", folder / f"warm {what}" / "out")
            found = measure(command, "", folder / "given", folder / what / "out")
            tally["good"][what] = {key: found[key] for key in ("exit_code", "seconds", "peak_mb")}
        for number, (bad, case) in enumerate(CASES.items()):
            if given.only and given.only not in bad:
                continue
            found = measure(case.command, bad, folder / "given", folder / f"case {number}" / "out")
            found["errors"] = [text.replace(name, "") for text in found["errors"]]
            found |= {"words": case.words, "like": case.like, "wrong": verdict(case, found)}
            tally["cases"][ascii(bad)] = found
            print(ascii(bad), json.dumps(found), flush=True)
    given.out.write_text(json.dumps(tally, indent=1) + "\n")
    return int(any(found["wrong"] for found in tally["cases"].values()))


if __name__ == "__main__":
    sys.exit(main())
