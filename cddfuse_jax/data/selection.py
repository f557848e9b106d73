"""Several sources as one, some pairs of a source, and the pairs that are held out of training."""

import bisect
import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from cddfuse_jax.data.sources import Images, Source
from cddfuse_jax.errors import InputError, some
from cddfuse_jax.images.listing import unended


class Joined:
    """The pairs of several sources, one source after the other."""

    def __init__(self, sources: Sequence[Source]):
        self.sources = sources
        self.names = [name for source in sources for name in source.names]  # two may share some
        self.sizes = [size for source in sources for size in source.sizes]
        self._ends = list(itertools.accumulate(map(len, sources)))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Images:
        number = bisect.bisect_right(self._ends, index)
        return self.sources[number][index - (self._ends[number - 1] if number else 0)]


class Subset:
    """Some pairs of a source, by their numbers."""

    def __init__(self, source: Source, indices: Iterable[int]):
        self.source, self.indices = source, list(indices)
        self.names = [source.names[index] for index in self.indices]
        self.sizes = [source.sizes[index] for index in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Images:
        return self.source[self.indices[index]]


def named(source: Source, file: str | os.PathLike) -> set[int]:
    """Return the numbers of the pairs that a text file names: a name a line, ending or not."""
    try:
        lines = Path(file).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: no text file with a name a line ({error})") from None
    found = [unended(name) for name in source.names]
    known = set(found)
    wanted = {unended(line.strip()) for line in lines if line.strip()}
    wanted = {name if name in known else PurePath(name).name for name in wanted}
    if not wanted:
        raise InputError(f"{file}: names no pair; write one name a line")
    if missing := sorted(wanted.difference(found)):
        raise InputError(
            f"{file}: {len(missing)} of {len(wanted)} names are not among the {len(found)} pairs: "
            f"{some(missing)}"
        )
    return {index for index, name in enumerate(found) if name in wanted}


def every_nth(sources: Sequence[Source], n: int) -> set[int]:
    """Return the numbers, in `Joined`, of each source's n-th pair, its 2n-th, and so on."""
    chosen: set[int] = set()
    start = 0
    for source in sources:
        chosen.update(range(start + n - 1, start + len(source), n))
        start += len(source)
    return chosen


def spread(source: Source, count: int) -> Source:
    """Return at most ``count`` pairs of a source, evenly spread over it; all of them for 0."""
    if not count or count >= len(source):
        return source
    return Subset(source, (index * len(source) // count for index in range(count)))
