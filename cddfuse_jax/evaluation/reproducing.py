"""The release's own tables, made again from its weights and its test images."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from cddfuse_jax.errors import InputError
from cddfuse_jax.evaluation.test_sets import TEST_SETS
from cddfuse_jax.evaluation.weights_scores import score_set
from cddfuse_jax.images.image_files import read_grey
from cddfuse_jax.metrics.protocols import PAPER_SCORES
from cddfuse_jax.models import Residual


class Printed(NamedTuple):
    """One line of a table of the release: test set, weights, and its eight figures as printed."""

    dataset: str
    weights: str
    residual: Residual
    figures: tuple[str, ...]


def _printed(dataset: str, weights: str, residual: Residual, figures: str) -> Printed:
    return Printed(dataset, weights, residual, tuple(figures.split()))


# What test_IVF.py and test_MIF.py print with the official weights, as the release's README has it.
RELEASE = (
    _printed("TNO", "CDDFuse_IVF", "visible", "7.12 46.0 13.15 2.19 1.76 0.77 0.54 1.03"),
    _printed("RoadScene", "CDDFuse_IVF", "visible", "7.44 54.67 16.36 2.3 1.81 0.69 0.52 0.98"),
    _printed("MRI-CT", "CDDFuse_IVF", "sum", "4.83 88.59 33.83 2.24 1.74 0.5 0.59 1.31"),
    _printed("MRI-CT", "CDDFuse_MIF", "none", "4.88 79.17 38.14 2.61 1.41 0.61 0.68 1.34"),
    _printed("MRI-PET", "CDDFuse_IVF", "sum", "4.23 81.69 28.04 1.87 1.82 0.66 0.65 1.46"),
    _printed("MRI-PET", "CDDFuse_MIF", "none", "4.22 70.74 29.57 2.03 1.69 0.71 0.71 1.49"),
    _printed("MRI-SPECT", "CDDFuse_IVF", "sum", "3.91 71.81 20.66 1.9 1.87 0.65 0.68 1.45"),
    _printed("MRI-SPECT", "CDDFuse_MIF", "none", "3.9 58.31 20.87 2.49 1.35 0.97 0.78 1.48"),
)


class Reproduced(NamedTuple):
    """One line made again; ``images`` says how the images compare with others', where given."""

    line: Printed
    figures: tuple[str, ...]
    images: str | None

    @property
    def same(self) -> bool:
        """Whether every digit is the release's."""
        return self.figures == self.line.figures


def reproduce(
    line: Printed, weights: Path, sides: tuple[Path, Path], out: Path, theirs: Path | None = None
) -> Reproduced:
    """Fuse and score a test set as the release does, and compare with ``theirs``, if given."""
    scored = score_set(line.dataset, sides, [weights], out, "fused", residual=line.residual)
    means = scored.evaluation.rows[0].means
    figures = tuple(str(np.round(means[score], 2)) for score in PAPER_SCORES)
    images = compare_images(out / "fused_0", theirs) if theirs else None
    return Reproduced(line, figures, images)


def compare_images(ours: Path, theirs: Path) -> str:
    """Say in a few words how the images of two folders, of the same names, differ."""
    found = {file.stem: file for file in sorted(theirs.iterdir()) if file.is_file()}
    names = [file.stem for file in sorted(ours.glob("*.png")) if file.stem in found]
    if not names:
        return "no image of the same name"
    equal, differing, pixels, largest = 0, 0, 0, 0.0
    for name in names:
        one, other = (read_grey(f).astype(np.int16) for f in (ours / f"{name}.png", found[name]))
        if one.shape != other.shape:
            (height, width), (rows, columns) = one.shape, other.shape
            return f"{name}: {width}x{height} here, {columns}x{rows}"
        difference = np.abs(one - other)
        equal += not difference.any()
        differing += int(np.count_nonzero(difference))
        pixels += difference.size
        largest = max(largest, float(difference.max()))
    if equal == len(names):
        return f"all {equal} equal"
    share = 100 * differing / pixels
    percent = f"{share:.0f}" if share >= 10 else f"{share:.2g}"
    return (
        f"{equal} of {len(names)} equal, {percent} % of pixels differ, "
        f"by at most {largest:.0f} of 255"
    )


def table(lines: list[Reproduced]) -> str:
    """Write the lines as the release prints them, each over its own where they differ."""
    heads = "EN\tSD\tSF\tMI\tSCD\tVIF\tQabf\tSSIM"
    text, dataset = [], None
    for each in lines:
        if each.line.dataset != dataset:
            dataset = each.line.dataset
            text += ["=" * 80, f"The test result of {dataset.replace('-', '_')} :", f"\t\t {heads}"]
        text.append("\t".join([each.line.weights, *each.figures]))
        if not each.same:
            text.append("\t".join(["  the release", *each.line.figures]))
        if each.images:
            text.append(f"  images: {each.images}")
    return "\n".join([*text, "=" * 80])


Ready = tuple[Printed, Path, tuple[Path, Path]]


def found_lines(models: Path, test_img: Path) -> tuple[list[Ready], list[str]]:
    """Return what can be made again, and a line for each that cannot."""
    ready, missing = [], []
    for line in RELEASE:
        weights = models / f"{line.weights}.pth"
        sides = TEST_SETS[line.dataset].sides(test_img)
        if not weights.is_file():
            missing.append(f"left out: {line.dataset} by {line.weights}, no {weights}")
        elif sides is None:
            folder = TEST_SETS[line.dataset].folders[0]
            missing.append(f"left out: {line.dataset} by {line.weights}, no {test_img / folder}")
        else:
            ready.append((line, weights, sides))
    if not ready:
        raise InputError(
            "--models holds CDDFuse_IVF.pth and CDDFuse_MIF.pth, the release's test_img TNO, "
            f"RoadScene, MRI_CT, MRI_PET, MRI_SPECT; nothing of it is in {models} and {test_img}"
        )
    return ready, missing
