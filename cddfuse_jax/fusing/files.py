"""What the command fuses: two files, two folders, or two videos; checked before work begins."""

import contextlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from cddfuse_jax.console import report_error
from cddfuse_jax.distributed import processes
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import alone_in, check_outputs
from cddfuse_jax.fusing.folder import fuse_pairs, outputs
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.fusing.video import check_timing, fuse_video
from cddfuse_jax.images.frames import is_video, open_frames
from cddfuse_jax.images.image_files import missing
from cddfuse_jax.images.pair_photos import Resize
from cddfuse_jax.images.pair_rules import Rule
from cddfuse_jax.images.pairs import Pair, select_pairs


def fuse_images(
    make_fuser: Callable[[], Fuser],
    visible: Path,
    infrared: Path,
    out: Path,
    resize: Resize | None = None,
    overwrite: bool = False,
    rule: Rule | None = None,
) -> tuple[int, int]:
    """Fuse a pair of files, or this process's share of the pairs of two folders.

    Args:
        make_fuser: called when inputs and outputs have been found good.
        visible: a file, or a folder.
        infrared: the same kind.
        out: a folder that takes NAME.png; also a .png file for one pair.
        resize: see `images.pair_photos.read_pair`.
        overwrite: whether outputs that exist are replaced.
        rule: how names go together, see `images.pairs.find_pairs`.

    Returns:
        How many pairs all processes fused, and how many failed or lack a partner.

    Raises:
        InputError: nothing to fuse, or outputs exist or would replace inputs.
    """
    pairs, alone = select_pairs(visible, infrared, rule)
    files = outputs(pairs, out)
    with contextlib.ExitStack() as stack:
        if files != [out] and processes.is_first():
            stack.enter_context(alone_in(out, "fuse"))
        return _fuse_images(make_fuser, pairs, alone, files, out, resize, overwrite)


def _fuse_images(
    make_fuser: Callable[[], Fuser],
    pairs: list[Pair],
    alone: list[str],
    files: list[Path],
    out: Path,
    resize: Resize | None,
    overwrite: bool,
) -> tuple[int, int]:
    check_outputs(files, [file for pair in pairs for file in pair[1:]], overwrite)
    fuser = make_fuser()
    # No process writes before all have looked.
    processes.check_same([str(file) for file in files], "pairs")
    for line in alone:
        report_error(line)
    own_pairs, own_files = processes.share(pairs), processes.share(files)
    fused = sum(processes.gather(fuse_pairs(fuser, own_pairs, own_files, resize)))
    failed = len(pairs) - fused + len(alone)
    if processes.is_first():
        print(f"{out}: {fused} fused, {failed} failed")
    return fused, failed


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
    """Fuse two videos, or folders of frames, to a video; arguments as in `fuse_images`.

    Args:
        make_fuser: as there.
        visible: a video, or a folder of frames.
        infrared: the same.
        out: a video file.
        fps: frames per second of folders; by default the other video's.
        sync: whether frames are paired by time.
        resize: as there.
        overwrite: as there.

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
