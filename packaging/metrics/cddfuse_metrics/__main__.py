"""A table of mean scores of folders of fused images."""

import argparse
import csv
import os
import sys
from pathlib import Path
from statistics import fmean

import numpy as np
from PIL import Image, ImageOps

from cddfuse_metrics import METRICS, PROTOCOLS, InputError, __version__, compute

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}


def images_in(folder):
    """Return the images of a folder by name without ending."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in ENDINGS and not path.name.startswith("."):
            if path.stem in found:
                raise InputError(f"{found[path.stem]}, {path}: one name twice; remove one")
            found[path.stem] = path
    return found


def read(path):
    """Read an image as it is stored: uint8, uint16 or bool, grey or RGB."""
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode in ("LA", "La"):
                image = image.convert("L")
            elif image.mode not in ("1", "L", "RGB", "RGBA") and not image.mode.startswith("I;16"):
                if image.mode in ("I", "F"):
                    return np.array(image)
                image = image.convert("RGB")
            return np.array(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read as an image ({error})") from None


def scored(methods, visible, infrared, names, given):
    """Score the pairs that all folders have: rows of (method, pair, scores), and complaints."""
    folders = [*methods.values(), visible, infrared]
    pairs = [name for name in visible if all(name in folder for folder in folders)]
    left = len(set().union(*folders)) - len(pairs)
    complaints = [f"not scored, not in all folders: {left} names"] if left else []
    rows = []
    for pair in pairs:
        try:
            sources = read(visible[pair]), read(infrared[pair])
            rows += [
                (name, pair, compute(read(folder[pair]), *sources, names, given.protocol,
                                     given.data_range))
                for name, folder in methods.items()
            ]  # fmt: skip
        except InputError as error:
            complaints.append(f"not scored: {pair}: {error}")
            rows = [row for row in rows if row[1] != pair]
    return rows, complaints


def table(methods, rows, names, protocol):
    """Lay out the means: a title, a head, a line per method."""
    lines = [["", *names]]
    for method in methods:
        means = [fmean(scores[name] for m, _, scores in rows if m == method) for name in names]
        lines.append([method, *(f"{mean:.4g}" for mean in means)])
    widths = [max(map(len, column)) for column in zip(*lines)]
    pairs = len({pair for _, pair, _ in rows})
    title = f"cddfuse-metrics {__version__}, protocol {protocol}, means over {pairs} pairs"
    return "\n".join(
        [title] + ["  ".join(x.rjust(w) for x, w in zip(line, widths)) for line in lines]
    )


def write(path, rows, names, protocol):
    """Write a line per method and pair."""
    temporary = path.with_name(path.name + ".part")
    with open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["protocol", "version", "name", "image", *names])
        for method, pair, scores in rows:
            start = [protocol, f"cddfuse-metrics {__version__}", method, pair]
            writer.writerow(start + [f"{scores[name]:.10g}" for name in names])
    os.replace(temporary, path)


def main(arguments=None):
    """Run the command; 1 where images failed."""
    parser = argparse.ArgumentParser("cddfuse-metrics", description=__doc__)
    add = parser.add_argument
    add("--fused", required=True, nargs="+", metavar="[NAME=]DIR", help="folders of fused images")
    add("--vi", required=True, type=Path, metavar="DIR", help="visible images (medical: MRI)")
    add("--ir", required=True, type=Path, metavar="DIR", help="infrared images (medical: CT, PET)")
    add("--protocol", default="release", choices=PROTOCOLS, help="default: %(default)s")
    add("--metrics", metavar="NAME,...", help=f"any of {', '.join(METRICS)}, all or "
        "pyiqa:NAME; default: the protocol's")  # fmt: skip
    add("--csv", type=Path, metavar="FILE", help="write the scores of every image")
    add("--data-range", type=float, metavar="WHITE", help="default: 255, of 16-bit files 65535")
    given = parser.parse_args(arguments)
    methods = {}
    for text in given.fused:
        name, equals, folder = text.partition("=")
        name, folder = (name, folder) if equals else (Path(text).resolve().name, text)
        if name in methods:
            raise InputError(f"--fused names differ, two are {name!r}; give NAME=DIR")
        methods[name] = images_in(Path(folder))
    if given.csv and given.csv.exists():
        raise InputError(f"{given.csv} exists; give another name")
    names = [name.strip() for name in (given.metrics or "").split(",") if name.strip()]
    names = list(METRICS) if names == ["all"] else names or list(PROTOCOLS[given.protocol].metrics)
    for name in names:
        PROTOCOLS[given.protocol].metric(name)
    rows, complaints = scored(methods, images_in(given.vi), images_in(given.ir), names, given)
    for line in complaints:
        print(line, file=sys.stderr)
    if not rows:
        raise InputError("nothing was scored: images of all folders need the same name and size")
    print(table(methods, rows, names, given.protocol))
    if given.csv:
        write(given.csv, rows, names, given.protocol)
    return int(any(line.startswith("not scored: ") for line in complaints))


def program():
    """Run the command as a program, errors in one line."""
    try:
        sys.exit(main())
    except (InputError, OSError) as error:
        print(f"cddfuse-metrics: error: {error}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    program()
