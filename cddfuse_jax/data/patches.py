"""Cut two folders of image pairs into training patches, in one HDF5 file, as the release does.

    python -m cddfuse_jax.data.patches --vi DIR --ir DIR --out FILE.h5 [--size 128] [--stride 200]

Exit code 0 if every pair was cut, 1 if some were left out (one line each says why), 2 if no file
was written.
"""

from pathlib import Path

import h5py
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cddfuse_jax import console, files
from cddfuse_jax.console import run
from cddfuse_jax.errors import InputError
from cddfuse_jax.images import image_files
from cddfuse_jax.pairs import rules
from cddfuse_jax.pairs.find import Pair, find_pairs
from cddfuse_jax.pairs.read import check_same_size
from cddfuse_jax.pairs.rules import Rule
from cddfuse_jax.rigs.rig import HELP, OPTION, Rig, load_rig

# As the release spells them: in each group one dataset "0", "1", ... of 1xHxW float32.
VISIBLE_GROUP, INFRARED_GROUP = "vis_patchs", "ir_patchs"
LEAST_CONTRAST = 0.1


def cut(image: np.ndarray, size: int, stride: int) -> np.ndarray:
    """Cut the whole windows of an image, row by row: HxW -> (patches, size, size), a view or copy.

    Windows start at multiples of stride; what is left at the right and lower edge is not used.
    """
    height, width = image.shape
    if min(height, width) < size:
        raise InputError(f"{width}x{height} is smaller than a patch of {size}x{size}; lower --size")
    windows = sliding_window_view(image, (size, size))[::stride, ::stride]
    return windows.reshape(-1, size, size)


def is_low_contrast(patches: np.ndarray) -> np.ndarray:
    """Find nearly flat patches: (patches, size, size) in [0, 1] -> (patches,) booleans.

    Flat means (p90 - p10) / p90 < 0.1 with linearly interpolated percentiles. A patch whose p90 is
    0 has no such ratio and counts as not flat, as in the release.
    """
    low, high = np.percentile(patches.reshape(len(patches), -1), (10, 90), axis=1)
    with np.errstate(invalid="ignore"):
        return (high - low) / high < LEAST_CONTRAST


def pair_patches(
    visible: np.ndarray, infrared: np.ndarray, size: int, stride: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Cut a pair, HxW each, and drop every window that is low in contrast in either image.

    Returns:
        Visible and infrared patches, (kept, size, size) each, and the number dropped.
    """
    visible, infrared = cut(visible, size, stride), cut(infrared, size, stride)
    kept = ~(is_low_contrast(visible) | is_low_contrast(infrared))
    return visible[kept], infrared[kept], int((~kept).sum())


def read_pair(pair: Pair, rig: Rig | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read (visible, infrared) as the release prepares them: float32 HxW in [0, 1].

    Visible is luma that was never rounded, infrared is grey over 255. A rig's pairs are cropped to
    what both cameras see.
    """
    visible = image_files.read_luma(pair.visible)
    infrared = image_files.read_grey(pair.infrared).astype(np.float32) / np.float32(255)
    if rig is not None:
        with image_files.naming(pair.name):
            return rig.place(visible, infrared)
    check_same_size(pair, visible, infrared)
    return visible, infrared


class _Sink:
    """A file for HDF5 that remembers the first failed write and pretends that all was well.

    Where the disk is full, the HDF5 library crashes when it closes the file.
    """

    def __init__(self, path: Path):
        self._file = open(path, "r+b", buffering=0)  # noqa: SIM115
        self._error: OSError | None = None
        for name in ("readinto", "read", "seek", "tell"):
            setattr(self, name, getattr(self._file, name))

    def __enter__(self) -> "_Sink":
        return self

    def __exit__(self, kind, *_) -> None:
        self._file.close()
        if kind is None:  # HDF5 has written the rest while it was closed
            self.check()

    def check(self) -> None:
        """Raise the error of the first write that failed."""
        if self._error:
            raise self._error

    def write(self, data) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view) and not self._error:
            try:
                done += self._file.write(view[done:])
            except OSError as error:
                self._error = error
        return len(view)

    def truncate(self, size=None) -> int:
        try:
            return self._file.truncate(size)
        except OSError as error:
            self._error = self._error or error
            return size or 0

    def flush(self) -> None:
        self._file.flush()


def write_patches(
    visible: Path,
    infrared: Path,
    out: Path,
    size: int,
    stride: int,
    overwrite: bool = False,
    rule: Rule | None = None,
    rig: Rig | None = None,
) -> int:
    """Write the patches of all pairs of two folders; print what was kept; return the exit code."""
    if min(size, stride) < 1:
        raise InputError(f"--size and --stride must be at least 1, got {size} and {stride}")
    pairs, only_visible, only_infrared, _ = find_pairs(visible, infrared, rule)
    read = [file for pair in pairs for file in pair[1:]] + only_visible + only_infrared
    files.check_outputs([out], read, overwrite)
    failed = len(only_visible) + len(only_infrared)
    for file in only_visible:
        console.report(f"{file}: left out, no image of that name in {infrared}")
    for file in only_infrared:
        console.report(f"{file}: left out, no image of that name in {visible}")
    cut_pairs = kept = dropped = 0
    try:
        with (
            files.replacing(out) as temporary,
            _Sink(temporary) as sink,
            h5py.File(sink, "w") as file,
        ):
            groups = file.create_group(VISIBLE_GROUP), file.create_group(INFRARED_GROUP)
            for pair in console.progress(pairs, "cutting patches", unit="pair"):
                try:
                    *modalities, low = pair_patches(*read_pair(pair, rig), size, stride)
                except InputError as error:
                    console.report(f"pair {pair.name} left out: {error}")
                    failed += 1
                    continue
                for group, patches in zip(groups, modalities, strict=True):
                    for number, patch in enumerate(patches, start=kept):
                        group.create_dataset(str(number), data=patch[None])
                sink.check()
                cut_pairs, kept, dropped = cut_pairs + 1, kept + len(patches), dropped + low
            if kept == 0:
                raise InputError(
                    f"no patch left, so {out} is not written: {len(pairs)} pairs found, "
                    f"{cut_pairs} cut, {dropped} patches low in contrast"
                )
    except OSError as error:
        if error.errno in files.DISK_FULL:  # `console.code_of` says so in a line
            raise OSError(error.errno, error.strerror, str(out)) from None
        raise InputError(f"cannot write {out}: {error.strerror or error}") from None
    print(f"{cut_pairs} pairs: {kept} patches kept, {dropped} dropped for low contrast, in {out}")
    return 1 if failed else 0


def main() -> int:
    """Read the arguments and write the file."""
    parser = console.ArgumentParser(
        prog="python -m cddfuse_jax.data.patches",
        description="Cut image pairs into training patches, in the release's HDF5 format.",
    )
    parser.add_argument("--vi", type=Path, required=True, help="folder of visible images")
    parser.add_argument("--ir", type=Path, required=True, help="folder of infrared images")
    parser.add_argument("--out", type=Path, required=True, help="HDF5 file to write")
    parser.add_argument("--size", type=int, default=128, help="side of a patch in pixels (128)")
    parser.add_argument("--stride", type=int, default=200, help="pixels from one to the next (200)")
    parser.add_argument(OPTION, type=Path, metavar="FILE", help=HELP)
    rules.add_option(parser)
    console.add_overwrite(parser)
    given = parser.parse_args()
    return write_patches(
        given.vi,
        given.ir,
        given.out,
        given.size,
        given.stride,
        given.overwrite,
        rules.parse(given.pair),
        load_rig(given.registration) if given.registration else None,
    )


if __name__ == "__main__":
    run(main)
