"""Cutting pairs into training patches, in one HDF5 file, as the release does."""

from pathlib import Path

import h5py
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cddfuse_jax import console, files
from cddfuse_jax.data.sources import prepared
from cddfuse_jax.errors import InputError
from cddfuse_jax.images.ranges import AUTO, Range
from cddfuse_jax.pairs.find import find_pairs
from cddfuse_jax.pairs.read import read_pair
from cddfuse_jax.pairs.rules import Rule
from cddfuse_jax.rigs.rig import Rig

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
    ranges: tuple[Range, Range] = (AUTO, AUTO),
) -> int:
    """Write the patches of all pairs of two folders; print what was kept; return the exit code."""
    if min(size, stride) < 1:
        raise InputError(f"--size and --stride must be at least 1, got {size} and {stride}")
    found = find_pairs(visible, infrared, rule)
    pairs = found.pairs
    files.check_outputs([out], [*found.visible, *found.infrared], overwrite)
    failed = len(found.alone)
    for note in found.notes:
        console.report(f"note: {note}")
    for line in found.alone:
        console.report(f"left out: {line}")
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
                    images = prepared(read_pair(pair, rig, ranges))
                    *modalities, low = pair_patches(*images, size, stride)
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
