"""A registration for each pair, by the points that a matcher found in it."""

from pathlib import Path
from typing import NamedTuple

from cddfuse_jax.errors import InputError
from cddfuse_jax.images.image_files import missing, read_size
from cddfuse_jax.pairs.find import Pair
from cddfuse_jax.rigs import Model
from cddfuse_jax.rigs.points import matched_rig
from cddfuse_jax.rigs.rig import Rig

ENDINGS = (".txt", ".csv", ".npy", ".npz")


class Matches(NamedTuple):
    """Matches of pairs, a file for each, named as the pair's result is.

    Attributes:
        path: their folder; of one pair also the file.
        model: of the map that is fitted to them; None for affine, or a homography where that fits.
        fill: as `Rig.fill`.
    """

    path: Path
    model: Model | None = None
    fill: bool = False

    def check(self, count: int) -> None:
        """Refuse a path that leads nowhere, and one file for several pairs."""
        if not self.path.exists():
            raise InputError(missing(self.path))
        if count > 1 and self.path.is_file():
            raise InputError(f"{self.path}: the matches of one pair, for {count}; give a folder")

    def rig(self, pair: Pair, index: int | None = None) -> Rig:
        """Return a pair's registration, whose images are read as with ``index``.

        Raises:
            InputError: there is no file, or the matches in it do not agree.
        """
        files = [self.path]
        if not self.path.is_file():
            files = [self.path / f"{pair.name}{ending}" for ending in ENDINGS]
            files = [file for file in files if file.exists()]
        if len(files) != 1:
            found = ", ".join(file.name for file in files) or "none"
            raise InputError(
                f"{pair.name}: one file of matches is needed in {self.path}, {pair.name} with "
                f"{', '.join(ENDINGS)}, found {found}"
            )
        sizes = read_size(pair.visible, index), read_size(pair.infrared, index)
        return matched_rig(files[0], *sizes, self.model, self.fill)
