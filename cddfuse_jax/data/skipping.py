"""A source that replaces pairs which cannot be read, so that one bad file does not end a run."""

import threading

from cddfuse_jax.console import report_error
from cddfuse_jax.data.sources import Images, Source
from cddfuse_jax.errors import InputError

_NOTING = threading.Lock()  # batches are read in threads


class SkippingSource:
    """Another source in which a pair that cannot be read is replaced by the next that can.

    After the last pair comes the first. The replacement depends on the files alone, so a run that
    is resumed gets the same pairs as long as the files stay as they are.

    Attributes:
        skipped: numbers of the pairs found unreadable so far, each reported when it was found.
    """

    def __init__(self, source: Source):
        self.source, self.names, self.sizes = source, source.names, source.sizes
        self.skipped: set[int] = set()

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Images:
        for candidate in (*range(index, len(self)), *range(index)):
            try:
                return self.source[candidate]
            except InputError as error:
                self._note(candidate, error)
        raise InputError(f"none of the {len(self)} pairs can be read")

    def _note(self, index: int, error: InputError) -> None:
        with _NOTING:
            if index not in self.skipped:
                self.skipped.add(index)
                count = len(self.skipped)
                report_error(f"{error}; replaced by the next pair ({count} skipped so far)")
