"""Where pairs come from: two folders, an HDF5 file, a TFDS dataset, or the procedural scenes.

A source has a length, and ``source[i]`` is a pair {"visible": HxWx1, "infrared": HxWx1}, float32 in
[0, 1]. ``names()`` and ``sizes()`` tell of every pair without reading any pixel.
"""

import os
from collections.abc import Sequence
from typing import Any, Protocol

import h5py
import numpy as np

from cddfuse_jax.console import report
from cddfuse_jax.data.patches import INFRARED_GROUP, VISIBLE_GROUP, read_pair
from cddfuse_jax.errors import InputError, install, one_line
from cddfuse_jax.images.levels import luma
from cddfuse_jax.images.pair_photos import read_pair_size
from cddfuse_jax.images.pair_rules import Rule
from cddfuse_jax.images.pairs import find_pairs, no_pairs
from cddfuse_jax.scenes.pairs import synthetic_pair

ROUNDING = 1e-3  # what values of another program may lie outside [0, 1]
Images = dict[str, np.ndarray]
Size = tuple[str, int, int]  # what it is of, height, width


class Source(Protocol):
    """What `batches` needs of a source of pairs."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Images: ...

    def names(self) -> Sequence[str]:
        """Return the name of every pair."""
        ...

    def sizes(self) -> Sequence[Size | None]:
        """Return file, height and width of every pair, None where its header cannot be read."""
        ...


class FolderPairs:
    """Pairs of image files in two folders, with equal names or by a rule (`find_pairs`).

    Visible images are read as the release's patch preparation reads them (luma, not rounded),
    infrared ones as rounded grey over 255. For medical pairs "visible" is MRI and "infrared" is CT
    or PET. Files without a partner are left out and reported.

    With ``keep_bad``, pairs that cannot be read keep their numbers and are complained about only
    when their turn comes.

    Raises:
        InputError: a folder is missing, there is no pair, or the two images of a pair differ in
            size. Later, from ``source[i]``: a file cannot be read any more or has another size.
    """

    def __init__(
        self,
        visible: str | os.PathLike,
        infrared: str | os.PathLike,
        keep_bad: bool = False,
        rule: Rule | None = None,
    ):
        self.pairs, *leftovers, _ = find_pairs(visible, infrared, rule)
        if not self.pairs:
            raise InputError(no_pairs(visible, infrared, sum(map(len, leftovers)), rule))
        alone = [str(file) for files in leftovers for file in files]
        if alone:
            shown = ", ".join(alone[:3]) + (", ..." if len(alone) > 3 else "")
            report(f"warning: {len(alone)} images have no partner and are left out: {shown}")
        self._sizes: list[Size | None] = []
        for pair in self.pairs:
            try:
                self._sizes.append((str(pair.visible), *read_pair_size(pair)))
            except InputError:
                if not keep_bad:
                    raise
                self._sizes.append(None)
        if not any(self._sizes):
            raise InputError(f"none of the {len(self.pairs)} pairs in {visible} can be read")

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Images:
        visible, infrared = read_pair(self.pairs[index])
        size = self._sizes[index]
        if size is None or visible.shape != size[1:]:
            raise InputError(f"{self.pairs[index].visible}: changed since the start of this run")
        return {"visible": visible[..., None], "infrared": infrared[..., None]}

    def names(self) -> list[str]:
        """Return the pairs' names, without ending."""
        return [pair.name for pair in self.pairs]

    def sizes(self) -> list[Size | None]:
        """Return visible file, height and width of every pair, as the headers said at the start."""
        return self._sizes


class H5Patches:
    """Patches in the release's HDF5 format, in the order of their numbers.

    Groups ``vis_patchs`` and ``ir_patchs``, in each one dataset "0", "1", ... of 1xHxW floats.
    Every process opens the file for itself, when it first reads from it.

    Raises:
        InputError: the file is missing, no HDF5, or not of that format. Later, from ``source[i]``:
            a patch cannot be read.
    """

    def __init__(self, file: str | os.PathLike):
        self.path = str(file)
        self._file: Any = None
        self._process: int | None = None
        try:
            with h5py.File(self.path, "r") as opened:
                self.keys, self._sizes = self._inspect(opened)
        except FileNotFoundError:
            raise InputError(f"{self.path}: no such file") from None
        except InputError:
            raise
        except Exception as error:  # depends on the byte that is damaged
            reason = one_line(error)
            raise InputError(f"{self.path}: no HDF5 file that can be read ({reason})") from None

    def _inspect(self, opened: h5py.File) -> tuple[list[str], list[tuple[str, int, int]]]:
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
        sizes = []
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
        return len(self.keys)

    def __getitem__(self, index: int) -> Images:
        key = self.keys[index]
        try:
            visible, infrared = (
                np.asarray(self._opened()[group][key], np.float32)[0, :, :, None]
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

    def names(self) -> list[str]:
        """Return the patches' numbers."""
        return self.keys

    def sizes(self) -> list[Size]:
        """Return name, height and width of every patch."""
        return self._sizes

    def _opened(self) -> h5py.File:
        # A handle must not cross a fork.
        if self._process != os.getpid():
            self._file, self._process = h5py.File(self.path, "r"), os.getpid()
        return self._file

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_file": None, "_process": None}


class TfdsPairs:
    """A split of a TFDS dataset, as `cddfuse_jax.data.tfds_builder` writes it.

    Images are read as `FolderPairs` reads the files that they were written from. Every process
    opens the dataset for itself, when it first reads from it.

    Raises:
        InputError: TFDS is not installed, or there is no such dataset or split.
    """

    def __init__(self, directory: str | os.PathLike, split: str = "train"):
        self.directory, self.split = str(directory), split
        self._pairs: Any = None
        self._process: int | None = None
        try:
            self._sizes = [
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

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, index: int) -> Images:
        if self._process != os.getpid():
            self._pairs, self._process = self._open(), os.getpid()
        example = self._pairs[index]
        infrared = example["infrared"].astype(np.float32) / np.float32(255)
        return {"visible": luma(example["visible"])[..., None], "infrared": infrared}

    def names(self) -> list[str]:
        """Return the pairs' names, as they are stored beside the images."""
        return [name for name, _, _ in self._sizes]

    def sizes(self) -> list[Size]:
        """Return name, height and width of every pair, as they are stored beside the images."""
        return self._sizes

    def _open(self, skip: tuple[str, ...] = ()):
        import tensorflow_datasets as tfds  # an extra, and slow to import

        builder = tfds.builder_from_directory(self.directory)
        decoders = {name: tfds.decode.SkipDecoding() for name in skip} or None
        return builder.as_data_source(split=self.split, decoders=decoders)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_pairs": None, "_process": None}


class SyntheticPairs:
    """Procedural scenes, all of one size; different seeds share no scene.

    Raises:
        InputError: a number is not positive, or the seed is negative.
    """

    def __init__(self, count: int, height: int, width: int, seed: int = 0):
        if min(count, height, width) < 1 or seed < 0:
            raise InputError(
                "procedural pairs need count, height and width of at least 1 and a seed of at "
                f"least 0, got count {count}, height {height}, width {width}, seed {seed}"
            )
        self.count, self.height, self.width, self.seed = count, height, width, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Images:
        scene = (self.seed << 32) + index
        visible, infrared = synthetic_pair(scene, self.height, self.width)
        return {"visible": visible[..., None], "infrared": infrared[..., None]}

    def names(self) -> list[str]:
        """Return the scenes' numbers."""
        return [str(index) for index in range(self.count)]

    def sizes(self) -> list[Size]:
        """Return the one size that all scenes have, for each."""
        return [("procedural scenes", self.height, self.width)] * self.count
