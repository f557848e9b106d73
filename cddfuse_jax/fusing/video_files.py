"""Two videos, or folders of frames, that the command fuses to one; checked before work begins.

Apart from `fusing.jobs`, so that fusing images imports no PyAV.
"""

from fractions import Fraction
from pathlib import Path

from cddfuse_jax.errors import InputError
from cddfuse_jax.files import check_outputs
from cddfuse_jax.fusing.video import check_timing
from cddfuse_jax.images.frames import Frames, open_frames
from cddfuse_jax.images.image_files import missing
from cddfuse_jax.images.output_files import is_video


def open_videos(
    visible: Path,
    infrared: Path,
    out: Path,
    fps: Fraction | None = None,
    sync: bool = False,
    overwrite: bool = False,
) -> tuple[Frames, Frames]:
    """Open two videos, or folders of frames, that are to be fused to a video."""
    if not is_video(out):
        raise InputError(f"--out must be a video, such as fused.mp4, got {out}")
    for path in (visible, infrared):
        if not path.exists():
            raise InputError(missing(path))
        if not (path.is_dir() or is_video(path)):
            raise InputError(f"{path}: a video is made of two videos or folders of frames")
    check_outputs([out], (visible, infrared), overwrite)
    if fps is None:  # a folder with a video has the video's
        videos = (open_frames(p, None) for p in (visible, infrared) if is_video(p))
        fps = next((video.rate for video in videos), None)
    frames = open_frames(visible, fps), open_frames(infrared, fps)
    check_timing(*frames, sync)
    return frames
