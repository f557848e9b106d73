"""Pairs of files taken apart: a picture of each, a table of what was measured, their spread."""

import csv
from pathlib import Path

import numpy as np

from cddfuse_jax.console import progress, report_error
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import check_outputs, replacing
from cddfuse_jax.fusing.jobs import outputs
from cddfuse_jax.fusing.pixels import check_sizes
from cddfuse_jax.fusing.whole import check_finite_output
from cddfuse_jax.images import levels
from cddfuse_jax.images.image_files import naming, write_png
from cddfuse_jax.models import Residual
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.pairs.find import Pair, select_pairs
from cddfuse_jax.pairs.read import Resize, read_pair
from cddfuse_jax.pairs.rules import Rule
from cddfuse_jax.training.decomposing import Decomposition, decompose
from cddfuse_jax.training.feature_pictures import distribution, labelled_grid
from cddfuse_jax.weights.any_format import load

_EMPTY = np.zeros((3, 0, 0), np.float32)  # replaces maps once drawn: a folder holds many
MEASURES = ("cc_base", "cc_detail", "decomposition", "inverse_error", "inverse_error_float64")
TABLE, PICTURE = "decomposition.csv", "distribution.png"


def decompose_file(
    model: CDDFuse, params, pair: Pair, residual: Residual, resize: Resize | None = None
) -> Decomposition:
    """Read a pair as fuse does and take it apart."""
    photos = read_pair(pair, resize)
    with naming(pair.name):
        visible, infrared = (levels.network_input(photo.pixels) for photo in photos)
        check_sizes(visible, infrared)
        parts = decompose(model, params, visible, infrared, residual)
        for maps in (parts.images, parts.base, parts.detail):
            check_finite_output(maps)
    return parts


def write_table(path: Path, measured: dict[str, Decomposition]) -> None:
    """Write one row per image: its name and `MEASURES`."""
    with replacing(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", *MEASURES])
        for name, parts in measured.items():
            writer.writerow([name, *(f"{getattr(parts, measure):.6g}" for measure in MEASURES)])


def decompose_files(
    weights: Path,
    visible: Path,
    infrared: Path,
    out: Path,
    residual: Residual | None = None,
    resize: Resize | None = None,
    overwrite: bool = False,
    rule: Rule | None = None,
) -> int:
    """Take a pair of files, or every pair of two folders, apart; return the number of failures."""
    if out.suffix or (out.exists() and not out.is_dir()):
        raise InputError(f"--out is a folder for pictures and a table, got {out}; name a folder")
    pairs, alone, _ = select_pairs(visible, infrared, rule)
    files = outputs(pairs, out / "")
    table, picture = out / TABLE, out / PICTURE
    if picture in files:
        raise InputError(f"a pair named {picture.stem} would hide {PICTURE}; rename its files")
    read = [file for pair in pairs for file in pair[1:]]
    check_outputs([*files, table, picture], read, overwrite)
    loaded = load(weights)
    residual = residual or loaded.residual or "visible"
    for line in alone:
        report_error(line)
    measured: dict[str, Decomposition] = {}
    for pair, file in progress(list(zip(pairs, files, strict=True)), "decomposing", unit="pair"):
        try:
            parts = decompose_file(loaded.model, loaded.params, pair, residual, resize)
        except InputError as error:
            report_error(str(error))
            continue
        write_png(file, labelled_grid(parts, pair.name))
        measured[pair.name] = parts._replace(images=_EMPTY, base=_EMPTY, detail=_EMPTY)
    if measured:
        write_table(table, measured)
        base, detail = ([getattr(p, m) for p in measured.values()] for m in MEASURES[:2])
        if len(measured) > 1:
            shown = {"base features": base, "detail features": detail}
            title = f"correlation of the two modalities' features, {len(measured)} pairs"
            write_png(picture, distribution(shown, title))
        print(
            f"{len(measured)} pairs: correlation of base {sum(base) / len(base):+.3f}, of detail "
            f"{sum(detail) / len(detail):+.3f}; inverse off by at most "
            f"{max(parts.inverse_error for parts in measured.values()):.1e}, in float64 by "
            f"{max(parts.inverse_error_float64 for parts in measured.values()):.1e}"
        )
    failed = len(pairs) - len(measured) + len(alone)
    print(f"{out}: {len(measured)} done, {failed} failed")
    return failed
