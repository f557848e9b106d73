"""What the command fuses: two files, two folders, or two videos; checked before work begins."""

import contextlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from cddfuse_jax.console import report, report_error
from cddfuse_jax.distributed import processes
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import alone_in, check_outputs
from cddfuse_jax.fusing.folder import AS_THEY_ARE, Outcome, Treatment, fuse_pairs, outputs
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.fusing.video import check_timing, fuse_video
from cddfuse_jax.images.frames import is_video, open_frames
from cddfuse_jax.images.image_files import missing
from cddfuse_jax.images.pair_photos import Resize, looks_medical
from cddfuse_jax.images.pair_rules import Rule
from cddfuse_jax.images.pairs import select_pairs
from cddfuse_jax.weights.shipped import SHIPPED


class Files(NamedTuple):
    """Which files are fused, and what is done about outputs that exist.

    Attributes:
        visible: a file, or a folder.
        infrared: the same kind.
        out: a folder that takes the fused images; also an image file for one pair.
        rule: how names go together, see `images.pairs.find_pairs`.
        overwrite: whether outputs that exist are replaced.
        skip_existing: whether pairs whose output exists are left out.
    """

    visible: Path
    infrared: Path
    out: Path
    rule: Rule | None = None
    overwrite: bool = False
    skip_existing: bool = False


class Counts(NamedTuple):
    """How many pairs all processes fused, left out, and how many failed or lack a partner."""

    fused: int
    skipped: int
    failed: int


def fuse_images(
    make_fuser: Callable[[], Fuser],
    files: Files,
    treatment: Treatment = AS_THEY_ARE,
    tell: Callable[[Outcome], None] = lambda outcome: None,
) -> Counts:
    """Fuse a pair of files, or this process's share of the pairs of two folders.

    Args:
        make_fuser: called when inputs and outputs have been found good.
        files: what, and where to.
        treatment: how.
        tell: called with the outcome of each of this process's pairs, in order.

    Raises:
        InputError: nothing to fuse, or outputs exist or would replace inputs.
    """
    pairs, alone = select_pairs(files.visible, files.infrared, files.rule)
    outs = outputs(pairs, files.out, treatment.format)
    with contextlib.ExitStack() as stack:
        if outs != [files.out] and processes.is_first():
            stack.enter_context(alone_in(files.out, "fuse"))
        todo = list(zip(pairs, outs, strict=True))
        if files.skip_existing:
            todo = [(pair, out) for pair, out in todo if not out.exists()]
        read = [file for pair in pairs for file in pair[1:]]
        check_outputs([out for _, out in todo], read, files.overwrite)
        fuser = make_fuser() if todo else None
        # No process writes before all have looked.
        processes.check_same([str(out) for _, out in todo], "pairs")
        if fuser and _is_for_cameras(fuser) and all(looks_medical(pair) for pair in pairs):
            report("note: by their names these are medical pairs; --weights mif is made for them")
        for line in alone:
            report_error(line)
        fused = 0
        if fuser and (own := processes.share(todo)):
            own_pairs, own_outs = [pair for pair, _ in own], [out for _, out in own]
            fused = fuse_pairs(fuser, own_pairs, own_outs, treatment, tell)
        fused = sum(processes.gather(fused))
    counts = Counts(fused, len(pairs) - len(todo), len(todo) - fused + len(alone))
    if processes.is_first():
        skipped = f"{counts.skipped} skipped, " if files.skip_existing else ""
        print(f"{files.out}: {fused} fused, {skipped}{counts.failed} failed")
    return counts


def _is_for_cameras(fuser: Fuser) -> bool:
    weights = fuser.weights.split()[0]
    return weights in SHIPPED and weights != "mif" and fuser.residual == "visible"


def fuse_videos(
    make_fuser: Callable[[], Fuser],
    visible: Path,
    infrared: Path,
    out: Path,
    fps: Fraction | None = None,
    sync: bool = False,
    resize: Resize | None = None,
    overwrite: bool = False,
) -> None:
    """Fuse two videos, or folders of frames, to a video.

    Args:
        make_fuser: called when inputs and output have been found good.
        visible: a video, or a folder of frames.
        infrared: the same.
        out: a video file.
        fps: frames per second of folders; by default the other video's.
        sync: whether frames are paired by time.
        resize: see `images.pair_photos.read_pair`.
        overwrite: whether an output that exists is replaced.

    Raises:
        InputError: one of them is no video, timing or sizes differ, or the output exists.
    """
    if processes.count() > 1:
        raise InputError(
            f"a video is fused by one process, got {processes.count()}; start one alone"
        )
    if not is_video(out):
        raise InputError(f"--out must be a video, such as fused.mp4, got {out}")
    for path in (visible, infrared):
        if not path.exists():
            raise InputError(missing(path))
        if not (path.is_dir() or is_video(path)):
            raise InputError(f"{path}: a video is made of two videos or folders of frames")
    check_outputs([out], (visible, infrared), overwrite)
    if fps is None:  # a folder beside a video has the video's
        videos = (open_frames(p, None) for p in (visible, infrared) if is_video(p))
        fps = next((video.rate for video in videos), None)
    seen, warm = (open_frames(path, fps) for path in (visible, infrared))
    check_timing(seen, warm, sync)
    count = fuse_video(make_fuser(), seen, warm, out, sync, resize)
    print(f"{out}: {count} frames at {float(seen.rate):.5g} per second")
