"""A random sample of the rows of a large file, drawn while it is read.

Every row has a number that follows from the seed and its place; the rows of the smallest numbers
are the sample. So it is the same whoever reads which part, a smaller one is part of a larger one,
and no more rows have to be parsed than those below the largest number drawn so far.
"""

from collections import deque
from collections.abc import Iterator
from itertools import count

import numpy as np
import pyarrow as pa
from normalise import digest

ALL = np.uint64(2**64 - 1)
# Rows that are looked at together.
SOME = 1_000
# So much more than is wanted, and SOME rows at least, is gathered before the rest is put away.
_MORE = 1 / 4


def numbers_of(seed: int, file: int, places: np.ndarray) -> np.ndarray:
    """Pseudo-random 64-bit numbers of rows, by SplitMix64 (Steele, Lea and Flood, 2014).

    Args:
        seed: another seed draws another sample.
        file: position of the file in its source.
        places: of the rows in the file, counted in any way.
    """
    start = np.uint64(int(digest("sample", seed, file), 16))
    mixed = places.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + start
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def sequence(seed: int, file: int) -> Iterator[np.uint64]:
    """`numbers_of` the places 0, 1, 2 ..., without end."""
    for first in count(0, SOME):
        yield from numbers_of(seed, file, np.arange(first, first + SOME))


class Drawn:
    """The rows with the smallest numbers so far, in the order in which they were added.

    Attributes:
        limit: a row with a larger number cannot be among them any more.
    """

    def __init__(self, size: int, limit: np.uint64 = ALL):
        """Start with none.

        Args:
            size: how many are drawn.
            limit: what is known of the limit from other rows.
        """
        self._size = size
        self.limit = limit
        self._parts: deque[tuple[np.ndarray, pa.RecordBatch | None]] = deque()
        self._gathered = 0

    def add(self, numbers: np.ndarray, rows: pa.RecordBatch | None = None) -> None:
        """Add rows by their numbers; without `rows` nothing but the limit is kept."""
        self._parts.append((numbers, rows))
        self._gathered += len(numbers)
        if self._gathered >= self._size + max(_MORE * self._size, SOME):
            self._reduce()

    def _reduce(self) -> None:
        numbers = np.concatenate([numbers for numbers, _ in self._parts])
        if len(numbers) <= self._size:
            return
        kept = np.zeros(len(numbers), bool)
        drawn = np.argsort(numbers, kind="stable")[: self._size]
        kept[drawn] = True
        self.limit = min(self.limit, numbers[drawn[-1]])
        self._gathered, first = self._size, 0
        for _ in range(len(self._parts)):
            numbers, rows = self._parts.popleft()  # so that no row is held twice
            here = kept[first : first + len(numbers)]
            first += len(numbers)
            if here.any():
                self._parts.append(
                    (numbers[here], rows if rows is None else rows.filter(pa.array(here)))
                )

    def rows(self) -> Iterator[pa.RecordBatch]:
        """The sample, after the last row was added."""
        if self._parts:
            self._reduce()
        yield from (rows for _, rows in self._parts)
