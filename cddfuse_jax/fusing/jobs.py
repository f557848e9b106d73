"""What a command fuses: which pairs of files, each to which file; found before work begins."""

from pathlib import Path
from typing import NamedTuple

from cddfuse_jax.errors import InputError
from cddfuse_jax.files import check_outputs
from cddfuse_jax.images.output_files import FORMATS, QUALITY, Format, is_image_name
from cddfuse_jax.pairs import Resize
from cddfuse_jax.pairs.find import Pair, select_pairs
from cddfuse_jax.pairs.matches import Matches
from cddfuse_jax.pairs.rules import Rule


class Files(NamedTuple):
    """Which files are fused, and what is done about outputs that exist.

    Attributes:
        visible: a file, or a folder.
        infrared: the same kind.
        out: a folder that takes the fused images; also an image file for one pair.
        rule: how names go together, see `pairs.find.find_pairs`.
        overwrite: whether outputs that exist are replaced.
        skip_existing: whether pairs whose output exists are left out.
        shard: (i, n): only every n-th pair, from the i-th; others may fuse the rest meanwhile.
    """

    visible: Path
    infrared: Path
    out: Path
    rule: Rule | None = None
    overwrite: bool = False
    skip_existing: bool = False
    shard: tuple[int, int] = (0, 1)


class Treatment(NamedTuple):
    """What is done to the files of every pair before and after fusing.

    Attributes:
        resize: see `pairs.read.read_pair`.
        align: whether a shift that is certain is undone, by cropping both to what they share.
        format: how the fused image is stored, one of `images.output_files.FORMATS`.
        quality: of a JPEG, 1 to 100.
        page: which page or slice is read, see `images.image_files.read_photo`.
        strip_metadata: whether place and time of the visible file are left out.
        matches: by which each pair is registered.
    """

    resize: Resize | None = None
    align: bool = False
    format: Format = FORMATS["png"]
    quality: int = QUALITY
    page: int | None = None
    strip_metadata: bool = False
    matches: Matches | None = None


class Job(NamedTuple):
    """A pair of files, and the file that it is fused to."""

    pair: Pair
    out: Path


class Jobs(NamedTuple):
    """Jobs to do, how many are skipped, an error for each file without a partner, notes."""

    todo: list[Job]
    skipped: int = 0
    alone: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


AS_THEY_ARE = Treatment()


def find_jobs(files: Files, treatment: Treatment = AS_THEY_ARE) -> Jobs:
    """Find the pairs to fuse; refuse outputs that exist or would replace inputs."""
    found = select_pairs(files.visible, files.infrared, files.rule)
    if treatment.matches:
        treatment.matches.check(len(found.pairs))
    outs = outputs(found.pairs, files.out, treatment.format)
    first, count = files.shard
    jobs = [Job(pair, out) for pair, out in zip(found.pairs, outs, strict=True)][first::count]
    todo = [job for job in jobs if not (files.skip_existing and job.out.exists())]
    read = [file for pair in found.pairs for file in pair[1:]]
    check_outputs([job.out for job in todo], read, files.overwrite)
    return Jobs(todo, len(jobs) - len(todo), () if first else found.alone, found.notes)


def outputs(pairs: list[Pair], out: Path, as_format: Format = FORMATS["png"]) -> list[Path]:
    """Return each pair's output: ``out/NAME.png``, or ``out`` itself if it is an image."""
    single = is_image_name(out)
    if single and len(pairs) > 1:
        raise InputError(f"--out is a folder for {len(pairs)} pairs, got the file {out}")
    if not single and out.exists() and not out.is_dir():
        raise InputError(f"--out is a folder for fused images, {out} is a file; give another name")
    files = [out] if single else [out / f"{pair.name}{as_format.suffix}" for pair in pairs]
    inputs = {path.resolve() for pair in pairs for path in (pair.visible, pair.infrared)}
    if len(pairs) > 1 and out.resolve() in {path.parent for path in inputs}:
        raise InputError(f"{out}: fused images must not lie among the inputs; name another --out")
    return files
