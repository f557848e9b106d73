"""Fuse pairs of images as the release does: grey in, min-max stretched grey PNG out.

    python -m cddfuse_jax.fuse --weights W --vi FILE_OR_DIR --ir FILE_OR_DIR --out DIR [--evaluate]

Exit code 0 if every pair was fused, 1 if some could not be (one line each says why), 2 if nothing
could be started.
"""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from cddfuse_jax import compilation_cache
from cddfuse_jax.checkpoints import load_meta, load_params
from cddfuse_jax.commands import ArgumentParser, InputError, progress, report, run
from cddfuse_jax.evaluate import evaluate
from cddfuse_jax.images import Pair, check_same_size, find_pairs, read_grey, write_png
from cddfuse_jax.metrics.protocols import PROTOCOLS
from cddfuse_jax.metrics.published import PUBLISHED
from cddfuse_jax.models.cddfuse import RESIDUALS, CDDFuse, Residual
from cddfuse_jax.score_tables import terminal_table
from cddfuse_jax.scoring import Run

Fuse = Callable[[np.ndarray, np.ndarray], np.ndarray]


def make_fuse(params, residual: Residual = "visible") -> Fuse:
    """Return the function that fuses one pair by the release's grey protocol.

    It takes visible and infrared, uint8 HxW of one size from 2x2 up, and returns the fused image,
    uint8 HxW: scaled to [0, 1], fused, stretched from (min, max) to (0, 255) and rounded. A fused
    image that is constant has nothing to stretch and keeps its value. Each image size compiles
    once.
    """
    model = CDDFuse.from_params(params)
    apply = jax.jit(functools.partial(model.apply, method="fuse", residual=residual))
    variables = jax.device_put({"params": params})

    def fuse(visible: np.ndarray, infrared: np.ndarray) -> np.ndarray:
        images = (image[None, :, :, None].astype(np.float32) / 255 for image in (visible, infrared))
        fused = np.asarray(apply(variables, *map(jnp.asarray, images)))[0, :, :, 0]
        low, high = fused.min(), fused.max()
        stretched = (fused - low) / (high - low) if high > low else fused
        return np.rint(stretched * 255).astype(np.uint8)

    return fuse


def fuse_file(fuse: Fuse, pair: Pair, out: Path) -> None:
    """Fuse a pair's files to the PNG file ``out``.

    Raises:
        InputError: a file cannot be read, the sizes differ or are below 2x2, or ``out`` is one of
            the pair's own files.
    """
    if out.resolve() in (pair.visible.resolve(), pair.infrared.resolve()):
        raise InputError(f"{out}: would overwrite an input; name another --out")
    visible, infrared = read_grey(pair.visible), read_grey(pair.infrared)
    check_same_size(pair, infrared, visible)
    height, width = visible.shape
    if min(height, width) < 2:
        raise InputError(f"{pair.visible}: images must be at least 2x2, got {width}x{height}")
    write_png(out, fuse(visible, infrared))


def select_pairs(visible: Path, infrared: Path) -> tuple[list[Pair], list[str]]:
    """Return the pairs of two files or two folders, and a line for each file without a partner.

    Raises:
        InputError: one is a file and the other a folder, one is missing, or there is no pair.
    """
    for path in (visible, infrared):
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
    if visible.is_dir() != infrared.is_dir():
        raise InputError("--vi and --ir must be two files or two folders, got one of each")
    if visible.is_file():
        return [Pair(visible.stem, infrared, visible)], []
    found = find_pairs(infrared, visible)
    alone = [(file, infrared) for file in found.only_visible]
    alone += [(file, visible) for file in found.only_infrared]
    if not found.pairs:
        raise InputError(
            f"no pairs: an image in {visible} and one in {infrared} must have the same name "
            f"(endings may differ), found {len(alone)} images without a partner"
        )
    return found.pairs, [f"{file}: no image of that name in {folder}" for file, folder in alone]


def main() -> int:
    """Read the arguments and fuse."""
    parser = ArgumentParser(
        prog="python -m cddfuse_jax.fuse",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--weights",
        required=True,
        metavar="W",
        help="a .pth file of the release, a training run's workdir, or a converted checkpoint",
    )
    parser.add_argument("--vi", required=True, type=Path, help="visible (or MRI): file or folder")
    parser.add_argument("--ir", required=True, type=Path, help="infrared (or CT, PET): likewise")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="takes NAME.png")
    parser.add_argument(
        "--residual",
        choices=RESIDUALS,
        help="what the decoder adds to its output: the visible image (infrared-visible pairs), the "
        "sum of both (medical pairs with infrared-visible weights), none (medical weights); "
        "default: what the weights were trained with if they tell, else visible",
    )
    parser.add_argument(
        "--evaluate",
        action="store_true",
        help="then score what was fused, as python -m cddfuse_jax.evaluate, into DIR/report",
    )
    parser.add_argument("--protocol", default="release", choices=PROTOCOLS, help="for --evaluate")
    parser.add_argument(
        "--dataset", choices=PUBLISHED, help="for --evaluate: show what is published for it"
    )
    given = parser.parse_args()
    if given.evaluate and given.vi.is_file():
        raise InputError("--evaluate scores folders; give folders as --vi and --ir")
    compilation_cache.enable()
    pairs, alone = select_pairs(given.vi, given.ir)
    trained_with = load_meta(given.weights).get("config", {}).get("residual", "visible")
    fuse = make_fuse(load_params(given.weights), given.residual or trained_with)
    for line in alone:
        report(line)
    fused = 0
    for pair in progress(pairs, "fusing", unit="pair"):
        try:
            fuse_file(fuse, pair, given.out / f"{pair.name}.png")
            fused += 1
        except InputError as error:
            report(str(error))
    failed = len(pairs) - fused + len(alone)
    print(f"{given.out}: {fused} fused, {failed} failed")
    if given.evaluate and fused:
        evaluation = evaluate(
            [Run(given.out.resolve().name, (given.out,))],
            given.ir,
            given.vi,
            given.out / "report",
            given.protocol,
            dataset=given.dataset,
        )
        print(terminal_table(evaluation))
        print("report:", given.out / "report" / "report.html")
        failed += len(evaluation.errors)
    return 1 if failed else 0


if __name__ == "__main__":
    run(main)
