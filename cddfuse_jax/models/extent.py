"""Which pixels are real when an array is padded to a common size, or is one strip of the image.

Convolutions see what lies beyond the image, and attention sums over all of its pixels. Nothing else
in the network depends on where the image ends. `layers` asks `current` about both, so that blocks
say nothing of it.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float, Int

from cddfuse_jax.models.attention import GramSums, gram_sums
from cddfuse_jax.models.convolutions import AnyArray


class WholeArray(NamedTuple):
    """The array is the image, and padding alone makes what lies beyond."""

    def border(
        self, x: Float[AnyArray, "n h w c"], mode: str = "constant"
    ) -> Float[AnyArray, "n h w c"]:
        """Overwrite pixels outside the image with what padding in ``mode`` would put there.

        Those that a 3x3 convolution reads: zeros ("constant") or the mirrored image ("reflect").
        """
        del mode
        return x

    def sums(self, q: Float[AnyArray, "n h w c"], k: Float[AnyArray, "n h w c"]) -> GramSums:
        """Return `gram_sums` over the image, of q and k that 3x3 convolutions with zeros gave."""
        return gram_sums(q, k)


class Corner(NamedTuple):
    """The image begins at the array's first row and column, and is ``height`` by ``width``."""

    height: Int[AnyArray, ""] | np.integer
    width: Int[AnyArray, ""] | np.integer

    def border(
        self, x: Float[AnyArray, "n h w c"], mode: str = "constant"
    ) -> Float[AnyArray, "n h w c"]:
        """As `WholeArray.border`.

        A 3x3 convolution sees one row and one column beyond. Where the image fills the array, that
        row or column is not there and the convolution's own padding makes it.
        """
        rows, columns = (lax.iota(jnp.int32, x.shape[axis])[:, None] for axis in (1, 2))
        if mode == "constant":
            return jnp.where((rows < self.height)[:, None] & (columns < self.width), x, 0)
        row = lax.dynamic_slice_in_dim(x, self.height - 2, 1, 1)
        x = jnp.where((rows == self.height)[:, None], row, x)
        column = lax.dynamic_slice_in_dim(x, self.width - 2, 1, 2)
        return jnp.where(columns == self.width, column, x)

    def sums(self, q: Float[AnyArray, "n h w c"], k: Float[AnyArray, "n h w c"]) -> GramSums:
        """As `WholeArray.sums`."""
        return gram_sums(self._summable(q), self._summable(k))

    def _summable(self, x: Float[AnyArray, "n h w c"]) -> Float[AnyArray, "n h w c"]:
        """Zero what a 3x3 convolution of an array that is zero beyond the image leaves there.

        That is one row and one column: writing these is cheaper than masking all, by a sixth of the
        network's time.
        """
        for axis, end in ((1, self.height), (2, self.width)):
            last = lax.dynamic_slice_in_dim(x, end, 1, axis)  # the image's own, where it fills x
            cleared = jnp.where(end < x.shape[axis], 0, last)
            x = lax.dynamic_update_slice_in_dim(x, cleared, end, axis)
        return x


class Strip:
    """The array is a window on rows of the image, or partly beyond it, in full width.

    A block that asks for sums runs in several passes over all strips. ``known`` holds the sums over
    the whole image that earlier passes found, in the order in which the block asks for them. The
    first that is not known is what this pass is for: `share` is then this strip's part of it.

    Attributes:
        share: this strip's part of the sums, once the block has asked for them.
        borders: how many 3x3 convolutions the block has asked about so far.
        borders_before: how many of them before it asked for `share`.
    """

    def __init__(
        self,
        first: Int[AnyArray, ""] | np.integer,
        height: Int[AnyArray, ""] | np.integer,
        halo: int = 0,
        known: tuple[GramSums, ...] = (),
    ):
        """Describe a window.

        Args:
            first: the image's row that is the window's first, negative above the image.
            height: of the image.
            halo: rows at the top and bottom of the window that belong to its neighbours.
            known: see above.
        """
        self.first, self.height, self.halo, self.known = first, height, halo, known
        self.share: GramSums | None = None
        self.borders = self.borders_before = self._asked = 0

    def border(
        self, x: Float[AnyArray, "n h w c"], mode: str = "constant"
    ) -> Float[AnyArray, "n h w c"]:
        """As `WholeArray.border`, for all rows that lie beyond the image."""
        self.borders += 1
        row = self.first + jnp.arange(x.shape[1])
        if mode == "constant":
            inside = (row >= 0) & (row < self.height)
            return jnp.where(inside[:, None, None], x, 0)
        last = self.height - 1
        mirrored = last - jnp.abs(last - jnp.abs(row))
        return jnp.take(x, jnp.clip(mirrored - self.first, 0, x.shape[1] - 1), axis=1)

    def sums(self, q: Float[AnyArray, "n h w c"], k: Float[AnyArray, "n h w c"]) -> GramSums:
        """Return the sums over the image if they are known, else this strip's share."""
        self._asked += 1
        if self._asked <= len(self.known):
            return self.known[self._asked - 1]
        found = gram_sums(self._summable(q), self._summable(k))
        if self.share is None:
            self.share, self.borders_before = found, self.borders
        return found

    def _summable(self, x: Float[AnyArray, "n h w c"]) -> Float[AnyArray, "n h w c"]:
        """Zero the neighbours' rows, and the one that a 3x3 convolution leaves beyond the image.

        Row by row: to mask all of them, or to cut them off, takes as long as q and k themselves.
        """
        last = x.shape[1] - 1
        neighbours = [*range(self.halo), *range(last + 1 - self.halo, last + 1)]
        for row in (*neighbours, jnp.minimum(self.height - self.first, last)):
            x = lax.dynamic_update_slice_in_dim(x, jnp.zeros_like(x[:, :1]), row, 1)
        return x


Extent = WholeArray | Corner | Strip
WHOLE = WholeArray()
_current: contextvars.ContextVar[Extent] = contextvars.ContextVar("extent", default=WHOLE)


def current() -> Extent:
    """Return the extent of the arrays that the network is applied to."""
    return _current.get()


@contextlib.contextmanager
def of_arrays(extent: Extent) -> Iterator[None]:
    """Apply the network, in the block, to arrays of this extent."""
    token = _current.set(extent)
    try:
        yield
    finally:
        _current.reset(token)
