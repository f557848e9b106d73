"""Where pairs come from: two folders, or the procedural scenes; `stored_pairs` has the rest.

A source has a length, and ``source[i]`` is a pair {"visible": HxWx1, "infrared": HxWx1}, float32 in
[0, 1]. ``names()`` and ``sizes()`` cover every pair without reading any pixel.
"""

import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from cddfuse_jax.console import report
from cddfuse_jax.data.preparing import prepared
from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.errors import InputError
from cddfuse_jax.images.ranges import AUTO, Range
from cddfuse_jax.pairs.find import find_pairs, no_pairs
from cddfuse_jax.pairs.read import read_pair, read_pair_size
from cddfuse_jax.pairs.rules import Rule
from cddfuse_jax.rigs.rig import Rig

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
        self.pairs = found.pairs
        alone = [str(file) for file in found.only_visible + found.only_infrared]
        if not self.pairs:
            raise InputError(no_pairs(visible, infrared, len(alone), rule))
        for note in found.notes:
            report(f"note: {note}")
        if alone:
            shown = ", ".join(alone[:3]) + (", ..." if len(alone) > 3 else "")
            report(f"warning: {len(alone)} images have no partner and are left out: {shown}")
        self._sizes: list[Size | None] = []
        for pair in self.pairs:
            try:
                self._sizes.append((str(pair.visible), *read_pair_size(pair, fit=rig)))
            except InputError:
                if not keep_bad:
                    raise
                self._sizes.append(None)
        if not any(self._sizes):
            raise InputError(f"none of the {len(self.pairs)} pairs in {visible} can be read")

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Images:
        visible, infrared = prepared(read_pair(self.pairs[index], self._rig, self._ranges))
        size = self._sizes[index]
        if size is None or visible.shape != size[1:]:
            raise InputError(f"{self.pairs[index].visible}: changed since the start of this run")
        return {"visible": visible[..., None], "infrared": infrared[..., None]}

    def names(self) -> list[str]:
        """Return the pairs' names, without ending."""
        return [pair.name for pair in self.pairs]

    def sizes(self) -> list[Size | None]:
        """Return visible file, height and width of every pair, as in the headers at the start."""
        return self._sizes


class SyntheticPairs:
    """Procedural scenes, all of one size; different seeds share no scene."""

    def __init__(self, count: int, height: int, width: int, seed: int = 0):
        if min(count, height, width) < 1 or seed < 0:
            raise InputError(
                "synthetic pairs need count, height and width of at least 1 and a seed of at "
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
