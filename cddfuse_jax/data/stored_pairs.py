"""Sources of pairs (`sources.Source`) that were stored as one: an HDF5 file, a TFDS dataset.

They are opened when first read.
"""

import os
from typing import Any

import h5py
import numpy as np

from cddfuse_jax.data.cutting import INFRARED_GROUP, VISIBLE_GROUP
from cddfuse_jax.data.sources import Images, Sizes
from cddfuse_jax.errors import InputError, install, one_line
from cddfuse_jax.images.levels import luma

ROUNDING = 1e-3  # what values of another program may lie outside [0, 1]


class H5Patches:
    """Patches in the release's HDF5 format, in the order of their numbers.

    Groups ``vis_patchs`` and ``ir_patchs``, in each one dataset "0", "1", ... of 1xHxW floats.

    Raises:
        InputError: the file is missing, no HDF5, or not of that format. Later, from ``source[i]``:
            a patch cannot be read.
    """

    def __init__(self, file: str | os.PathLike):
        self.path = str(file)
        self._file: Any = None
        try:
            with h5py.File(self.path, "r") as opened:
                self.names, self.sizes = self._inspect(opened)
        except FileNotFoundError:
            raise InputError(f"{self.path}: no such file") from None
        except InputError:
            raise
        except Exception as error:  # depends on the byte that is damaged
            reason = one_line(error)
            if "unable to lock" in reason:
                raise InputError(
                    f"{self.path}: is locked by another program, or lies on a disk without locks; "
                    "end that program, or set HDF5_USE_FILE_LOCKING=FALSE"
                ) from None
            raise InputError(f"{self.path}: no HDF5 file that can be read ({reason})") from None

    def _inspect(self, opened: h5py.File) -> tuple[list[str], Sizes]:
        groups = [opened.get(name) for name in (VISIBLE_GROUP, INFRARED_GROUP)]
        if not all(isinstance(group, h5py.Group) for group in groups):
            raise InputError(
                f"{self.path}: patches are in groups {VISIBLE_GROUP} and {INFRARED_GROUP}, this "
                f"file has {', '.join(opened) or 'nothing'}; make it with "
                "python -m cddfuse_jax.data.patches"
            )
        visible, infrared = (set(group) for group in groups)
        if visible != infrared or not visible:
            raise InputError(
                f"{self.path}: both groups must hold the same patches and at least one, "
                f"found {len(visible)} visible and {len(infrared)} infrared ones"
            )
        if not all(key.isdecimal() for key in visible):
            raise InputError(f"{self.path}: patches must be numbered 0, 1, ... in each group")
        keys = sorted(visible, key=int)
        sizes: Sizes = []
        for key in keys:
            shapes: list[tuple[int, ...]] = [getattr(group[key], "shape", ()) for group in groups]
            if shapes[0] != shapes[1] or len(shapes[0]) != 3 or shapes[0][0] != 1:
                raise InputError(
                    f"{self.path}: patches must be 1xHxW and alike in both groups, patch {key} is "
                    f"{' and '.join('x'.join(map(str, shape)) or 'none' for shape in shapes)}"
                )
            if any(group[key].dtype.kind != "f" for group in groups):
                raise InputError(f"{self.path}: patches must be floats in [0, 1], {key} is not")
            sizes.append((f"patch {key}", *shapes[0][1:]))
        return keys, sizes

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Images:
        key = self.names[index]
        try:
            if self._file is None:
                self._file = h5py.File(self.path, "r")
            visible, infrared = (
                np.asarray(self._file[group][key], np.float32)[0, :, :, None]
                for group in (VISIBLE_GROUP, INFRARED_GROUP)
            )
        except Exception as error:  # as above
            raise InputError(
                f"{self.path}: patch {key} cannot be read ({one_line(error)})"
            ) from None
        for values in (visible, infrared):
            if not (values.min() >= -ROUNDING and values.max() <= 1 + ROUNDING):
                raise InputError(
                    f"{self.path}: patches must be in [0, 1], patch {key} has values from "
                    f"{values.min():.3g} to {values.max():.3g}; divide 8-bit values by 255"
                )
        return {"visible": visible, "infrared": infrared}


class TfdsPairs:
    """A split of a TFDS dataset, as `cddfuse_jax.data.tfds_builder` writes it.

    Images are read as `FolderPairs` reads the files that they were written from.

    Raises:
        InputError: TFDS is not installed, or there is no such dataset or split.
    """

    def __init__(self, directory: str | os.PathLike, split: str = "train"):
        self.directory, self.split = str(directory), split
        self._pairs: Any = None
        try:
            self.sizes: Sizes = [
                (example["name"].decode(), int(example["height"]), int(example["width"]))
                for example in self._open(skip=("visible", "infrared"))
            ]
        except ImportError as error:
            raise InputError(
                f"data.source=tfds needs TensorFlow Datasets ({error}): {install('tfds')}"
            ) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = one_line(error)
            raise InputError(
                f"{directory}: no TFDS dataset with a split {split!r} of pairs there ({reason}); "
                "make one with python -m cddfuse_jax.data.tfds_builder"
            ) from None

        self.names = [size[0] for size in self.sizes if size]

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Images:
        if self._pairs is None:
            self._pairs = self._open()
        example = self._pairs[index]
        infrared = example["infrared"].astype(np.float32) / np.float32(255)
        return {"visible": luma(example["visible"])[..., None], "infrared": infrared}

    def _open(self, skip: tuple[str, ...] = ()):
        import tensorflow_datasets as tfds  # an extra, and slow to import

        builder = tfds.builder_from_directory(self.directory)
        decoders = {name: tfds.decode.SkipDecoding() for name in skip} or None
        return builder.as_data_source(split=self.split, decoders=decoders)
