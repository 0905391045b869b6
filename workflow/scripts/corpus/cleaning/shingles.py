"""Texts as hashes of their words, and of every few words in a row.

A word is a run of letters and digits, or one character of a script that does not put spaces
between words, such as Chinese. Punctuation, spaces, width and upper case do not count.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .characters import SINGLE, WORD, characters, describe
from .contents import Texts

_K1, _K2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
_BASE = np.uint64(0xD6E8FEB86659FD93)
# Longer words are hashed as if they began anew.
_POWERS = np.array([pow(int(_BASE), n, 2**64) for n in range(64)], np.uint64)


@dataclass(frozen=True, slots=True)
class Words:
    """Words of several texts, one after the other.

    Attributes:
        hashes: one number per word.
        single: whether a word is a character of a script without spaces.
        starts: where each text starts, one number more than texts.
    """

    hashes: np.ndarray
    single: np.ndarray
    starts: np.ndarray

    def shingles(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of all `size` words in a row, none across the end of a text, and their starts."""
        rolled = _roll(self.hashes, size)
        lengths = np.diff(self.starts)
        counts = np.maximum(lengths - (size - 1), 0)
        starts = np.zeros(len(self.starts), np.int64)
        np.cumsum(counts, out=starts[1:])
        # the last words of a text begin no shingle
        keep = np.ones(len(self.hashes), bool)
        for back in range(1, size):
            keep[(self.starts[1:] - back)[lengths >= back]] = False
        return mix(rolled[keep[: len(rolled)]]), starts

    def select(self, chosen: np.ndarray) -> "Words":
        """Only the chosen texts."""
        if chosen.all():
            return self
        lengths = np.diff(self.starts)
        kept = np.repeat(chosen, lengths)
        starts = np.concatenate([[0], np.cumsum(lengths[chosen])])
        return Words(self.hashes[kept], self.single[kept], starts)

    def without_spaces(self) -> np.ndarray:
        """Which texts are written, for the most part, in a script without spaces."""
        before = np.zeros(len(self.single) + 1, np.int64)
        np.cumsum(self.single, out=before[1:])
        return 2 * np.diff(before[self.starts]) >= np.diff(self.starts)


def mix(values: np.ndarray) -> np.ndarray:
    """Spread 64-bit numbers evenly (the end of splitmix64); equal ones stay equal."""
    values = (values ^ (values >> np.uint64(30))) * _K2
    return values ^ (values >> np.uint64(31))


def _roll(values: np.ndarray, size: int) -> np.ndarray:
    """Polynomial hash of every `size` numbers in a row, by doubling."""
    if len(values) < size:
        return np.empty(0, np.uint64)
    done, result, power, length = 0, None, values, 1
    while True:
        if size & length:
            # [done words][length words]
            if result is None:
                result = power
            else:
                count = len(values) - done - length + 1
                factor = np.uint64(pow(int(_BASE), length, 2**64))
                result = result[:count] * factor + power[done : done + count]
            done += length
        if done == size:
            return result[: len(values) - size + 1]
        factor = np.uint64(pow(int(_BASE), length, 2**64))
        power = power[:-length] * factor + power[length:]
        length *= 2


def words(codes: np.ndarray, starts: np.ndarray) -> Words:
    """Words of texts as `characters.characters` gives them."""
    folded, flags = describe(codes)
    begins = (flags & SINGLE) != 0
    inside = (flags & WORD) != 0
    several = inside.any()
    if several:
        starting = inside.copy()
        starting[1:] &= ~inside[:-1]
        edges = starts[:-1][np.diff(starts) > 0]
        starting[edges] = inside[edges]
        begins |= starting
    (first,) = np.nonzero(begins)
    hashes = _of_characters(folded[first])
    single = (flags[first] & SINGLE) != 0
    if several:
        (letters,) = np.nonzero(inside)
        (begin,) = np.nonzero(starting[letters])
        lengths = np.diff(np.append(begin, len(letters)))
        place = np.arange(len(letters)) - np.repeat(begin, lengths)
        values = _of_characters(folded[letters]) * _POWERS[place & 63]
        hashes[~single] = np.add.reduceat(values, begin)
    return Words(mix(hashes), single, np.searchsorted(first, starts))


def _of_characters(folded: np.ndarray) -> np.ndarray:
    values = (folded.astype(np.uint64) + _K1) * _K1
    return values ^ (values >> np.uint64(29))


def words_of_rows(texts: Texts) -> Iterator[tuple[int, int, Words, np.ndarray]]:
    """Words of all rows, some rows at a time.

    Yields:
        numbers of the first row and of the one after the last; their words; how many characters
        each row has.
    """
    for first, last, codes, starts in characters(texts.texts, texts.starts):
        rows = texts.starts[first : last + 1] - texts.starts[first]
        found = words(codes, starts)
        by_row = Words(found.hashes, found.single, found.starts[rows])
        yield first, last, by_row, np.diff(starts[rows])
