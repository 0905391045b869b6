"""Texts of a whole column as one array of characters, and what each character counts as.

What `normalise` does to one text is done here to a column at a time, without a Python object per
character; only texts with rare characters take the slow way.
"""

import unicodedata
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from normalise import DASHES, LONG, MEANINGFUL, RAISED, key_form

# What a character counts as.
SPACE, DROPPED, DIGIT, DIVIDER, DASH = 1, 2, 4, 8, 16  # in the normalised form of short texts
RARE = 32  # changes with its neighbours, or becomes several characters
WORD, SINGLE = 64, 128  # part of a word; a word of its own, such as a Chinese character

_BITS = 21  # of a code point
# Texts are worked on so many bytes at a time: the arrays then stay in the processor's cache.
CHUNK = 200_000

_JAMO = ((0x1100, 0x11FF), (0xA960, 0xA97F), (0xD7B0, 0xD7FF))
# Scripts that put no space between words.
_SINGLE = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x2E80, 0x2FDF),
    (0x3005, 0x3007),
    (0x3021, 0x312F),
    (0x31A0, 0x31FF),
    (0x3400, 0x9FFF),
    (0xAC00, 0xD7AF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


class _Table:
    """The folded form and the flags of each character, looked up when it first occurs."""

    def __init__(self) -> None:
        self._entries = np.zeros(0x110000, np.uint32)  # flags << 21 | code point, 0: not known

    def look_up(self, codes: np.ndarray) -> np.ndarray:
        entries = self._entries[codes]
        if not entries.all():
            for code in np.unique(codes[entries == 0]).tolist():
                folded, flags = _describe(code)
                self._entries[code] = flags << _BITS | folded
            entries = self._entries[codes]
        return entries


def _describe(code: int) -> tuple[int, int]:
    character = chr(code)
    category = unicodedata.category(character)
    folded = unicodedata.normalize("NFKC", character).casefold().translate(DASHES)
    rare = (
        code in RAISED
        or len(folded) != 1
        or category[0] == "M"
        or unicodedata.category(folded)[0] == "M"
        or any(first <= code <= last for first, last in _JAMO)
    )
    flags = RARE if rare else 0
    one = folded if len(folded) == 1 else character
    if one.isspace():
        flags |= SPACE
    elif one in ".,:/":
        flags |= DIVIDER
    elif one == "-":
        flags |= DASH
    elif one.isdecimal():
        flags |= DIGIT
    if unicodedata.category(one)[0] in "PZC":
        if one not in MEANINGFUL:
            flags |= DROPPED
    elif unicodedata.category(one)[0] == "S" or any(a <= ord(one) <= b for a, b in _SINGLE):
        flags |= SINGLE
    else:
        flags |= WORD
    return ord(one), flags


_table = _Table()


def characters(
    column: pa.StringArray, rows: np.ndarray | None = None
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Code points of the texts of a column, a stretch of about CHUNK bytes at a time.

    Args:
        column: the texts; a missing one is empty.
        rows: where the texts of each row start, one number more than rows, if a row has several:
            a stretch then holds whole rows.

    Yields:
        numbers of the first text (row) and of the one after the last; codes of all texts of the
        stretch, one after the other, as uint32; starts, one number more than texts: text i of
        the stretch is codes[starts[i] : starts[i + 1]].
    """
    if not len(column):
        return
    column = column.fill_null("")
    lengths = pc.utf8_length(column).to_numpy()
    offsets = np.frombuffer(column.buffers()[1], np.int32)
    offsets = offsets[column.offset : column.offset + len(column) + 1].astype(np.int64)
    bounds = offsets if rows is None else offsets[rows]
    data = memoryview(column.buffers()[2] or b"")
    first, number = 0, len(bounds) - 1
    while first < number:
        last = int(np.searchsorted(bounds, bounds[first] + CHUNK, side="right")) - 1
        last = min(max(last, first + 1), number)
        text = str(data[bounds[first] : bounds[last]], "utf-8")
        here = slice(first, last) if rows is None else slice(rows[first], rows[last])
        starts = np.zeros(here.stop - here.start + 1, np.int64)
        np.cumsum(lengths[here], out=starts[1:])
        yield first, last, np.frombuffer(text.encode("utf-32-le"), np.uint32), starts
        first = last


def describe(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The folded form (NFKC, lower case) of each character, and what it counts as, as flags."""
    entries = _table.look_up(codes)
    return entries & np.uint32((1 << _BITS) - 1), (entries >> _BITS).astype(np.uint8)


def key_forms(column: pa.StringArray) -> list[str]:
    """`normalise.key_form` of every text of a column."""
    forms: list[str] = []
    for first, _, codes, starts in characters(column):
        made, slow = _forms(codes, starts)
        for index in slow.tolist():
            made[index] = key_form(column[first + index].as_py())
        forms += made
    return forms


def _forms(codes: np.ndarray, starts: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The forms of texts, and which of them have to be made in the slow way."""
    folded, flags = describe(codes)
    lengths = np.diff(starts)
    keep = (flags & SPACE) == 0
    is_short = lengths <= LONG
    is_rare = False
    if is_short.any():
        # all characters of short texts; each text has its own, one after the other
        bounds = np.concatenate([[0], np.cumsum(lengths[is_short])])
        places = np.repeat(starts[:-1][is_short] - bounds[:-1], lengths[is_short])
        places += np.arange(len(places))
        short = flags[places]
        keep[places] &= ~_punctuation(short, bounds, (short & SPACE) == 0)
        (rare,) = np.nonzero(short & RARE)
        is_rare = np.zeros(len(lengths), bool)
        is_rare[is_short] = np.diff(np.searchsorted(rare, bounds)) > 0
    text = folded[keep].tobytes().decode("utf-32-le")
    (dropped,) = np.nonzero(~keep)
    bounds = starts - np.searchsorted(dropped, starts)
    forms = [text[a:b] for a, b in pairwise(bounds.tolist())]
    # a text of nothing but punctuation keeps it
    is_gone = (np.diff(bounds) == 0) & (lengths > 0)
    return forms, np.flatnonzero(is_short & (is_rare | is_gone))


def _punctuation(flags: np.ndarray, starts: np.ndarray, solid: np.ndarray) -> np.ndarray:
    """Which characters the normalised form leaves out for being punctuation."""
    drop = (flags & DROPPED) != 0
    (places,) = np.nonzero(flags & (DIVIDER | DASH))
    if len(places):
        # a divider stays between digits, a dash before one; spaces do not count as neighbours
        (left,) = np.nonzero(solid)
        order = np.searchsorted(left, places)
        last = len(left) - 1
        before, after = left[np.maximum(order - 1, 0)], left[np.minimum(order + 1, last)]
        text = np.searchsorted(starts, places, side="right")
        digit = (flags & DIGIT) != 0
        follows = digit[before] & (order > 0) & (before >= starts[text - 1])
        leads = digit[after] & (order < last) & (after < starts[text])
        is_divider = (flags[places] & DIVIDER) != 0
        drop[places[~(leads & (follows | ~is_divider))]] = True
    return drop
