"""Two videos, or folders of frames, that the command fuses to one; checked before work begins.

Apart from `fusing.files`, so that fusing images imports no PyAV.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from cddfuse_jax.distributed import processes
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import check_outputs
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.fusing.video import check_timing, fuse_video
from cddfuse_jax.images.frames import open_frames
from cddfuse_jax.images.image_files import missing
from cddfuse_jax.images.output_files import is_video
from cddfuse_jax.images.pair_photos import Resize


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
