"""Where pairs come from: two folders, or the procedural scenes; `stored_pairs` has the rest.

A source has a length, and ``source[i]`` is a pair {"visible": HxWx1, "infrared": HxWx1}, float32 in
[0, 1]. What it says of its pairs it knows without reading any pixel.
"""

import os
from typing import Protocol

import numpy as np
from jaxtyping import Float

from cddfuse_jax.console import report
from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.errors import InputError, some
from cddfuse_jax.images import levels
from cddfuse_jax.images.ranges import AUTO, Range
from cddfuse_jax.pairs.find import find_pairs, no_pairs
from cddfuse_jax.pairs.read import ImagePair, read_pair, read_pair_size
from cddfuse_jax.pairs.rules import Rule
from cddfuse_jax.rigs.rig import Rig

Images = dict[str, np.ndarray]
Size = tuple[str, int, int]  # what it is of, height, width
Sizes = list[Size | None]


class Source(Protocol):
    """What `batches` needs of a source of pairs.

    Attributes:
        names: of every pair.
        sizes: file (or what else it is), height and width of every pair; None where its header
            cannot be read.
    """

    names: list[str]
    sizes: Sizes

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Images: ...


def prepared(images: ImagePair) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """Return a pair as training reads it, in [0, 1]: of 8-bit files as the release prepares them.

    Visible is luma, not rounded; infrared is what is fused: grey rounded to 8 bits of an 8-bit
    file, luma at full depth of a deeper one.
    """
    return levels.luma(images.visible.pixels), levels.network_input(images.infrared.pixels)


class FolderPairs:
    """Pairs of image files in two folders, with equal names or by a rule (`find_pairs`).

    They are read as `fuse` reads them, and `prepared` for training. For medical pairs "visible" is
    MRI and "infrared" is CT or PET. Files without a partner are left out and reported.

    With ``rig``, the infrared images are brought into the visible frame, and both cropped;
    ``ranges`` are what becomes black and white on each side.
    With ``keep_bad``, pairs that cannot be read keep their numbers and raise only
    when they are read.

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
        rig: Rig | None = None,
        ranges: tuple[Range, Range] = (AUTO, AUTO),
    ):
        self._rig, self._ranges = rig, ranges
        found = find_pairs(visible, infrared, rule)
        self.pairs, self.names = found.pairs, [pair.name for pair in found.pairs]
        alone = [str(file) for file in found.only_visible + found.only_infrared]
        if not self.pairs:
            raise InputError(no_pairs(visible, infrared, len(alone), rule))
        for note in found.notes:
            report(f"note: {note}")
        if alone:
            report(f"warning: {len(alone)} images have no partner and are left out: {some(alone)}")
        self.sizes: Sizes = []
        for pair in self.pairs:
            try:
                self.sizes.append((str(pair.visible), *read_pair_size(pair, fit=rig)))
            except InputError:
                if not keep_bad:
                    raise
                self.sizes.append(None)
        if not any(self.sizes):
            raise InputError(f"none of the {len(self.pairs)} pairs in {visible} can be read")

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Images:
        visible, infrared = prepared(read_pair(self.pairs[index], self._rig, self._ranges))
        size = self.sizes[index]
        if size is None or visible.shape != size[1:]:
            raise InputError(f"{self.pairs[index].visible}: changed since the start of this run")
        return {"visible": visible[..., None], "infrared": infrared[..., None]}


class SyntheticPairs:
    """Procedural scenes, all of one size."""

    def __init__(self, count: int, height: int, width: int):
        if min(count, height, width) < 1:
            raise InputError(
                "synthetic pairs need data.count, data.height and data.width of at least 1, got "
                f"{count}, {height} and {width}"
            )
        self.names = [str(index) for index in range(count)]
        self.sizes: Sizes = [("procedural scenes", height, width)] * count
        self._shape = height, width

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Images:
        visible, infrared = synthetic_pair(index, *self._shape)
        return {"visible": visible[..., None], "infrared": infrared[..., None]}
