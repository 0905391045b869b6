"""Long texts that are nearly the same: MinHash and bands to find them, a count to be sure.

Of each text there are 128 numbers, each the least of as many hashes of its shingles: two texts
agree in about as large a share of them as they have shingles in common (Jaccard). Texts that agree
in all numbers of a band are compared; the pair counts if it really has as much in common.
Memory holds 64 bytes of each long text; the bands are on disk and looked at one by one.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rensa
from normalise import LONG

from .contents import Texts
from .shingles import mix, words_of_rows

PERMUTATIONS = 128
# A pair just at the threshold is missed with at most this probability.
MISSED = 0.01
SKETCH = 64  # numbers of which a byte is kept, to do without most of the comparisons
# The share of SKETCH numbers in common is further off than this once in a thousand times.
MARGIN = 0.16
# Words in a shingle. A changed word costs as many shingles, and English has fewer words.
SINGLE_SHINGLE, WORD_SHINGLE = 5, 3
PAIRS_AT_A_TIME = 200_000
# Numbers that rensa hands over at a time as Python objects: few stay in the processor's cache.
DIGESTS_AT_A_TIME = 64


def bands_for(threshold: float) -> tuple[int, int]:
    """Number of bands and of numbers in each: the most selective ones that still find pairs.

    >>> bands_for(0.8)
    (21, 6)
    """
    for rows in range(PERMUTATIONS, 1, -1):
        bands = PERMUTATIONS // rows
        if (1 - threshold**rows) ** bands <= MISSED:
            return bands, rows
    return PERMUTATIONS, 1


@dataclass(frozen=True, slots=True)
class Signatures:
    """Signatures of the long ones among the rows of a batch.

    Attributes:
        rows: their numbers in the batch.
        bands: a key for each row and band.
        sketches: a byte of each of SKETCH numbers, for each row.
    """

    rows: np.ndarray
    bands: np.ndarray
    sketches: np.ndarray


_packed = struct.Struct(f"{PERMUTATIONS}I").pack


def _minima(hashes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The PERMUTATIONS numbers of each text, whose shingles begin at starts."""
    rows = []
    for first in range(0, len(starts) - 1, DIGESTS_AT_A_TIME):
        here = starts[first : first + DIGESTS_AT_A_TIME + 1]
        digests = rensa.RMinHash.digest_matrix_from_flat_token_hashes(
            hashes[here[0] : here[-1]], here - here[0], PERMUTATIONS, 1
        )
        rows += [_packed(*row) for row in digests.to_rows()]
    return np.frombuffer(b"".join(rows), np.uint32).reshape(-1, PERMUTATIONS)


def sign(texts: Texts, wanted: np.ndarray, threshold: float) -> Signatures:
    """Signatures of those of the wanted rows that are long."""
    number, width = bands_for(threshold)
    rows, bands, sketches = [], [], []
    for found, hashes, starts in long_shingles(texts, wanted):
        matrix = _minima(hashes, starts.astype(np.uint64))
        keys = np.zeros((len(found), number), np.uint64)
        for place in range(width):
            keys = mix((keys + np.uint64(1)) ^ matrix[:, place : number * width : width])
        rows.append(found)
        bands.append(keys)
        sketches.append(matrix[:, :SKETCH].astype(np.uint8))
    if not rows:
        none = np.empty((0, number), np.uint64), np.empty((0, SKETCH), np.uint8)
        return Signatures(np.empty(0, np.int64), *none)
    return Signatures(np.concatenate(rows), np.concatenate(bands), np.concatenate(sketches))


def long_shingles(
    texts: Texts, wanted: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Shingles of those of the wanted rows that are long.

    Yields:
        rows, hashes of the shingles of all of them, and where those of each row start.
    """
    for first, last, found, lengths in words_of_rows(texts):
        rows = np.arange(first, last)
        chosen = wanted[first:last] & (lengths > LONG)
        if not chosen.any():
            continue
        rows, found = rows[chosen], found.select(chosen)
        without_spaces = found.without_spaces()
        for here, size in ((without_spaces, SINGLE_SHINGLE), (~without_spaces, WORD_SHINGLE)):
            if here.any():
                hashes, starts = found.select(here).shingles(size)
                filled = np.diff(starts) > 0  # nothing but signs: nothing to compare
                if filled.any():
                    yield rows[here][filled], hashes, np.append(starts[:-1][filled], starts[-1])


class Store:
    """Signatures of all rows: sketches in memory, bands on disk."""

    def __init__(self, folder: Path, bands: int):
        """Make empty files for the bands.

        Args:
            folder: an empty one.
            bands: their number.
        """
        self._paths = [folder / f"band{number}" for number in range(bands)]
        self._files = [path.open("wb") for path in self._paths]
        self._sketches = folder / "sketches"
        self._files.append(self._sketches.open("wb"))
        self._rows: list[np.ndarray] = []

    def add(self, signatures: Signatures, first_row: int) -> None:
        """Add those of a batch that begins at a row."""
        self._rows.append(signatures.rows + first_row)
        *bands, sketches = self._files
        for number, file in enumerate(bands):
            file.write(np.ascontiguousarray(signatures.bands[:, number]).data)
        sketches.write(np.ascontiguousarray(signatures.sketches).data)

    def finish(self) -> None:
        """Close the files; nothing can be added any more."""
        for file in self._files:
            file.close()
        self.rows = np.concatenate([np.empty(0, np.int64), *self._rows])
        self.sketches = np.fromfile(self._sketches, np.uint8).reshape(-1, SKETCH)
        self._rows.clear()

    def bands(self) -> Iterator[np.ndarray]:
        """The keys of one band after the other."""
        for path in self._paths:
            yield np.fromfile(path, np.uint64)


# Shingles of the given rows, in ascending order of the rows: row, and its sorted hashes.
Fetch = Callable[[np.ndarray], Iterator[tuple[int, np.ndarray]]]


class Shingles:
    """Shingles of the rows that are compared, kept on disk."""

    def __init__(self, path: Path, fetch: Fetch):
        self._file = path.open("w+b")
        self._fetch = fetch
        self._places: dict[int, tuple[int, int]] = {}

    def load(self, rows: np.ndarray) -> None:
        """Make the shingles of rows available."""
        missing = [row for row in rows.tolist() if row not in self._places]
        self._file.seek(0, 2)
        for row, hashes in self._fetch(np.array(missing, np.int64)):
            self._places[row] = self._file.tell(), len(hashes)
            self._file.write(hashes.tobytes())
        self._file.flush()

    def of(self, row: int) -> np.ndarray:
        """Sorted distinct hashes of a row."""
        place, number = self._places[row]
        self._file.seek(place)
        return np.frombuffer(self._file.read(8 * number), np.uint64)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    """Share of the hashes in common among those of both, each sorted and distinct."""
    if not len(one) or not len(other):
        return 0.0
    found = np.searchsorted(one, other)
    found[found == len(one)] = 0
    common = int((one[found] == other).sum())
    return common / (len(one) + len(other) - common)


def find(
    store: Store, shingles: Shingles, threshold: float, alive: np.ndarray, preferred: np.ndarray
) -> dict[int, int]:
    """Rows that are nearly the same as one before them that stays.

    Texts of a band are compared with the first of them and with the one before them; of each pair
    the later one is taken out, and the rest looked at again, until nothing is found.

    Args:
        store: signatures of all rows that can be compared.
        shingles: to compare them.
        threshold: least share of common shingles.
        alive: which of all rows stay so far.
        preferred: rows that count as earlier than all others.

    Returns:
        The rows to reject, and to each of them the row that stays.
    """
    order = np.lexsort((store.rows, ~preferred[store.rows]))
    rows = store.rows[order]  # from here on, rows are numbered by their rank
    stays = alive[rows]
    instead: dict[int, int] = {}
    tried = np.empty(0, np.uint64)
    shared: list[np.ndarray] = []
    while True:
        candidates = np.empty(0, np.uint64)
        for number, keys in enumerate(store.bands()):
            # after the first round, only rows that have had a key in common with another
            here = np.flatnonzero(stays) if len(shared) <= number else shared[number]
            here = here[stays[here]]
            members = _sharing(keys[order[here]])
            here, keys = here[members], keys[order[here[members]]]
            shared[number : number + 1] = [here.astype(np.uint32)]
            pairs = _neighbours(keys, here)
            alike = _likely(*_both(pairs, order), store.sketches, store.sketches, threshold)
            candidates = distinct(np.concatenate([candidates, pairs[alike]]))
        new = np.setdiff1d(candidates, tried, assume_unique=True)
        tried = np.concatenate([tried, new])
        pairs = _verified(new, rows, shingles, threshold)
        before = len(instead)
        for earlier, later in pairs:
            if stays[earlier] and stays[later]:
                stays[later] = False
                instead[later] = earlier
        if len(instead) == before:
            break
    named = {}
    for later, earlier in instead.items():
        while earlier in instead:  # that one was taken out in a later round
            earlier = instead[earlier]
        named[int(rows[later])] = int(rows[earlier])
    return named


def distinct(values: np.ndarray) -> np.ndarray:
    """The values in ascending order, each once; np.unique takes many times as long."""
    values = np.sort(values)
    return values[np.append(True, values[1:] != values[:-1])[: len(values)]]


def _sharing(keys: np.ndarray) -> np.ndarray:
    """Places of all keys that occur more than once, in ascending order."""
    by_key = np.argsort(keys)
    same = keys[by_key[1:]] == keys[by_key[:-1]]
    shares = np.zeros(len(keys), bool)
    shares[by_key[1:][same]] = True
    shares[by_key[:-1][same]] = True
    return np.flatnonzero(shares)


def _neighbours(keys: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Pairs of rows with the same key, as earlier << 32 | later."""
    by_key = np.argsort(keys, kind="stable")  # rows of one key stay in their order
    keys, ranks = keys[by_key], ranks[by_key].astype(np.uint64)
    (again,) = np.nonzero(keys[1:] == keys[:-1])
    again += 1
    if not len(again):
        return np.empty(0, np.uint64)
    is_first = np.ones(len(keys), bool)
    is_first[again] = False
    first = np.maximum.accumulate(np.where(is_first, np.arange(len(keys)), 0))[again]
    shift = np.uint64(32)
    return distinct(
        np.concatenate(
            [ranks[first] << shift | ranks[again], ranks[again - 1] << shift | ranks[again]]
        )
    )


def _both(pairs: np.ndarray, names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two sides of pairs of numbers, by the names of the numbers."""
    return names[pairs >> np.uint64(32)], names[pairs & np.uint64(0xFFFFFFFF)]


def _likely(
    one: np.ndarray, other: np.ndarray, sketches: np.ndarray, others: np.ndarray, threshold: float
) -> np.ndarray:
    """Which pairs are worth a comparison."""
    result = np.empty(len(one), bool)
    for start in range(0, len(one), PAIRS_AT_A_TIME):
        part = slice(start, start + PAIRS_AT_A_TIME)
        alike = (sketches[one[part]] == others[other[part]]).mean(axis=1, dtype=np.float32)
        result[part] = alike >= threshold - MARGIN
    return result


def _verified(
    pairs: np.ndarray, rows: np.ndarray, shingles: Shingles, threshold: float
) -> list[tuple[int, int]]:
    """Pairs that are really as alike, in the order of the later one, then of the earlier one."""
    earlier, later = _both(pairs, np.arange(len(rows)))
    shingles.load(np.unique(rows[np.concatenate([earlier, later])]))
    found, last, hashes = [], -1, None
    for number in np.lexsort((earlier, later)).tolist():
        a, b = int(earlier[number]), int(later[number])
        if b != last:
            last, hashes = b, shingles.of(int(rows[b]))
        if jaccard(shingles.of(int(rows[a])), hashes) >= threshold:
            found.append((a, b))
    return found


def find_across(
    store: Store, shingles: Shingles, others: Store, other_shingles: Shingles, threshold: float
) -> dict[int, int]:
    """Rows that are nearly the same as one of another file, and which that is.

    Args:
        store, shingles: of the rows.
        others, other_shingles: of the rows of the other file.
        threshold: least share of common shingles.
    """
    candidates = np.empty(0, np.uint64)
    for mine, theirs in zip(store.bands(), others.bands(), strict=True):
        if not len(theirs):
            return {}
        order = np.argsort(theirs, kind="stable")
        place = np.searchsorted(theirs[order], mine)
        place[place == len(theirs)] = 0
        (hit,) = np.nonzero(theirs[order[place]] == mine)
        pairs = hit.astype(np.uint64) << np.uint64(32) | order[place[hit]].astype(np.uint64)
        candidates = distinct(np.concatenate([candidates, pairs]))
    mine = (candidates >> np.uint64(32)).astype(np.int64)
    theirs = (candidates & np.uint64(0xFFFFFFFF)).astype(np.int64)
    likely = _likely(mine, theirs, store.sketches, others.sketches, threshold)
    mine, theirs = store.rows[mine[likely]], others.rows[theirs[likely]]
    shingles.load(np.unique(mine))
    other_shingles.load(np.unique(theirs))
    found: dict[int, int] = {}
    for row, other in zip(mine.tolist(), theirs.tolist(), strict=True):
        if row not in found and jaccard(shingles.of(row), other_shingles.of(other)) >= threshold:
            found[row] = other
    return found
