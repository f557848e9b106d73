"""Two streams of frames that the command fuses to a video: opened and put together by time or name.

All of it before work begins. Apart from `fusing.jobs`, so that fusing images imports no PyAV.
"""

import bisect
import itertools
import statistics
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from cddfuse_jax.console import report
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import check_outputs
from cddfuse_jax.images.frames import Frames, ImageFrames, is_animated, numbered
from cddfuse_jax.images.image_files import SUFFIXES, missing, read_size
from cddfuse_jax.images.listing import images_by_stem, natural, without_ending
from cddfuse_jax.images.not_read import READ
from cddfuse_jax.images.output_files import is_video
from cddfuse_jax.images.tiff_files import count_pages
from cddfuse_jax.images.video_frames import JITTER, VideoFrames
from cddfuse_jax.pairs.find import Pair, find_pairs, no_pairs, refuse_one_file
from cddfuse_jax.pairs.read import Fit, check_same_size, resizing
from cddfuse_jax.pairs.rules import ANY, Rule
from cddfuse_jax.rigs.rig import Rig

Images = list[tuple[str, Path, int | None]]  # name, file, page


class FramePairs(NamedTuple):
    """Two streams, which frames go together (their numbers, rising), and the infrared's delay.

    What is shown at the time t of the infrared stream is shown at t + ``offset`` of the visible.
    """

    visible: Frames
    infrared: Frames
    matches: list[tuple[int, int]]
    offset: Fraction = Fraction(0)


def open_videos(
    visible: Path,
    infrared: Path,
    out: Path,
    fps: Fraction | None = None,
    sync: bool = False,
    offset: Fraction | None = None,
    fit: Fit = None,
    rule: Rule | None = None,
    overwrite: bool = False,
) -> FramePairs:
    """Open two videos, folders of frames or TIFFs of pages, which are to be fused to a video.

    Raises:
        InputError: a file says what is not understood, or both cannot be put together.
    """
    if not is_video(out):
        raise InputError(f"--out must be a video, such as fused.mp4, got {out}")
    for path in (visible, infrared):
        if not path.exists():
            raise InputError(missing(path))
    if not visible.is_dir():
        refuse_one_file(Pair(visible.name, visible, infrared))
    check_outputs([out], (visible, infrared), overwrite)
    sides = [_images(path) for path in (visible, infrared)]
    if None not in sides:
        pairs = _by_name(visible, infrared, sides, fps, sync or offset is not None, rule)
    else:
        if fps and sides == [None, None]:
            raise InputError("--fps is for folders of frames; a video has its own times")
        first, second = (
            VideoFrames(path) if images is None else None
            for images, path in zip(sides, (visible, infrared), strict=True)
        )
        frames = (
            first or _beside(second, visible, sides[0], fps),
            second or _beside(first, infrared, sides[1], fps),
        )
        by_time = sync or offset is not None
        _check_start(*frames, by_time, offset)
        matches = match(*frames, by_time, offset or Fraction(0))
        pairs = FramePairs(*frames, matches, offset or Fraction(0))
    for one, other in (pairs[:2], pairs[1::-1]):
        if isinstance(one, VideoFrames) and one.aspect not in (1, other.aspect):
            one.refuse_shape(other.path)
    _check_sizes(pairs, fit)
    return pairs


def match(
    visible: Frames, infrared: Frames, by_time: bool = False, offset: Fraction = Fraction(0)
) -> list[tuple[int, int]]:
    """Return the numbers of the frames that go together.

    ``by_time`` each visible frame has the infrared frame nearest in time, the later one of two,
    at most half of a frame of the slower stream away; those without are left out, with a note.

    Raises:
        InputError: without ``by_time`` not all frames are in time; with it, none is.
    """
    times, others = visible.times, [time + offset for time in infrared.times]
    steps = [_step(frames) for frames in (visible, infrared)]
    if not by_time:
        near = (abs(a - b) <= min(steps) / 2 for a, b in zip(times, others, strict=False))
        if len(times) == len(others) and all(near):
            return [(number, number) for number in range(len(times))]
        raise InputError(
            f"both must have the same frames, {_described(visible)} and {_described(infrared)}; "
            "give --sync to pair them by time"
        )
    reach = max(steps) * (Fraction(1, 2) + JITTER / 10)
    matches = []
    for number, time in enumerate(times):
        after = min(bisect.bisect_left(others, time), len(others) - 1)
        before = max(after - 1, 0)
        nearest = after if others[after] - time <= time - others[before] else before
        if abs(others[nearest] - time) <= reach:
            matches.append((number, nearest))
    if not matches:
        raise InputError(
            f"no frames are of one time, {_described(visible)} and {_described(infrared)}; give "
            "--offset SECONDS, by which the infrared one's times come late"
        )
    (first, other), (last, end) = matches[0], matches[-1]
    left = len(times) - len(matches)
    report(
        f"note: {visible.path} at {_shown(times[first])} to {_shown(times[last])} s with "
        f"{infrared.path} at {_shown(infrared.times[other])} to {_shown(infrared.times[end])} s"
        + f"; {left} visible frame{'s' * (left > 1)} without a partner left out"
        * (left > 0)
    )
    return matches


def _check_start(visible: Frames, infrared: Frames, by_time: bool, offset) -> None:
    """Refuse two videos whose clocks need not be one and which begin at different times."""
    late = infrared.times[0] - visible.times[0]
    clocks = {getattr(frames, "clock", None) for frames in (visible, infrared)} - {None}
    if offset is None and len(clocks) > 1 and abs(late) > max(map(_step, (visible, infrared))) / 2:
        raise InputError(
            f"{visible.path} begins at {_shown(visible.times[0])} s and {infrared.path} at "
            f"{_shown(infrared.times[0])} s, in files of two kinds, whose clocks need not be one; "
            f"--offset 0 puts equal times together, --offset={_shown(-late)} the first frames"
        )


def _check_sizes(frames: FramePairs, fit: Fit) -> None:
    first, second = frames.visible, frames.infrared
    if isinstance(fit, Rig):
        fit.check_sizes(first.size, second.size)
    elif fit is None:
        check_same_size(first.size, second.size, (first.path, second.path))
    elif first.size != second.size:
        changed, other = (first, second) if fit == "visible" else (second, first)
        report(f"note: {changed.path}: {resizing(changed.size, other.size)}")


def _step(frames: Frames) -> Fraction:
    """Return the seconds from one frame to the next, as of most."""
    times = frames.times
    steps = [b - a for a, b in itertools.pairwise(times)]
    return statistics.median(steps) if steps else 1 / frames.rate


def _described(frames: Frames) -> str:
    count, rate, start = len(frames.times), float(frames.rate), frames.times[0]
    since = f" from {_shown(start)} s" if start else ""
    return f"{frames.path} has {count} at {rate:.5g} per second{since}"


def _shown(seconds: Fraction) -> str:
    return f"{float(seconds):.6g}"


def _images(path: Path) -> Images | None:
    """Return the frames of a folder or of a TIFF, in natural order, None for a video."""
    if path.is_dir():
        files = images_by_stem(path)
        return [(name, files[name], None) for name in sorted(files, key=natural)]
    if path.suffix.lower() in (".tif", ".tiff") and (pages := count_pages(path)) > 1:
        return [(str(page), path, page) for page in range(pages)]
    if path.name.lower().endswith(SUFFIXES) and not is_animated(path):
        read_size(path, 0)  # of what is no image an error says what it is
        raise InputError(
            f"{path}: one image; a video is made of two videos, folders of frames or TIFFs of pages"
        )
    return None


def _beside(video, path: Path, images: Images | None, fps: Fraction | None) -> ImageFrames:
    """Return images as frames of the times of a video, or of ``fps`` from its start."""
    images = _some(path, images)
    files, numbers = [image[1:] for image in images], numbered([image[0] for image in images])
    if not fps and numbers[-1] + 1 == len(video.times) == len(images):
        return ImageFrames(path, files, video.times, video.rate, video.tick)
    rate = fps or video.rate
    return ImageFrames(path, files, [video.times[0] + number / rate for number in numbers], rate)


def _by_name(visible: Path, infrared: Path, sides, fps, by_time: bool, rule) -> FramePairs:
    """Put the frames of two folders together by name, those of TIFFs by number."""
    first, second = _some(visible, sides[0]), _some(infrared, sides[1])
    if fps is None:
        raise InputError(f"{visible}: images have no frame rate; give --fps")
    if by_time:
        raise InputError("--sync and --offset are for videos; folders of frames go by name")
    if visible.is_dir() and infrared.is_dir():
        found = find_pairs(visible, infrared, rule)
        if not found.pairs and rule is None and len(first) == len(second):
            found = find_pairs(visible, infrared, Rule(ANY, ANY))
        for note in found.notes:
            report(f"note: {note}")
        if not found.pairs:
            raise InputError(no_pairs(visible, infrared, len(first) + len(second), rule))
        alone = [*found.only_visible, *found.only_infrared]
        named: dict[str, list[tuple[Path, int | None]]] = {
            pair.name: [(file, None) for file in pair[1:]] for pair in found.pairs
        }
        others = [without_ending(Path(file.name)).name for file in alone]
    else:
        if len(first) != len(second):
            counts = f"{len(first)} and {len(second)}"
            raise InputError(f"{visible} and {infrared}: pages go by number, got {counts}")
        named = {a[0]: [a[1:], b[1:]] for a, b in zip(first, second, strict=True)}
        alone, others = [], []
    if alone:
        shown = ", ".join(map(str, alone[:3])) + ", ..." * (len(alone) > 3)
        report(f"note: {len(alone)} frames without a partner left out: {shown}")
    names = sorted({*named, *others}, key=natural)
    times = {name: number / fps for name, number in zip(names, numbered(names), strict=True)}
    kept = [name for name in names if name in named]
    seconds, matches = [times[name] for name in kept], [(n, n) for n in range(len(kept))]
    frames = [
        ImageFrames(path, [named[name][side] for name in kept], seconds, fps)
        for side, path in enumerate((visible, infrared))
    ]
    return FramePairs(frames[0], frames[1], matches)


def _some(path: Path, images: Images | None) -> Images:
    if not images:
        raise InputError(f"{path}: no frames; {READ} are read")
    return images
