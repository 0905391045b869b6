"""Which rows may hold an advert, found for whole columns.

A pattern that has a piece of plain text in it can only match where that text is; few rows have it,
and only those are looked at by the pattern itself.
"""

import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from files import flat_messages

from .contents import MESSAGE_COLUMNS


class Adverts:
    """Finds the rows in which one of some patterns matches."""

    def __init__(self, patterns: tuple[re.Pattern, ...]):
        self._searches = [pattern.search for pattern in patterns]
        pieces = [plain_piece(pattern) for pattern in patterns]
        self._pieces = None if None in pieces else "|".join(map(re.escape, sorted({*pieces})))

    def rows(self, batch: pa.RecordBatch) -> np.ndarray:
        """Whether there is an advert in each row of a batch of the schema `files.ROWS`."""
        found = np.zeros(len(batch), bool)
        if not self._searches:
            return found
        if self._pieces is None:
            suspects = np.arange(len(batch))
        else:
            (suspects,) = np.nonzero(self._with_pieces(batch))
            batch = batch.take(pa.array(suspects))
        for said in _said(batch):
            for row, text in zip(suspects.tolist(), said.to_pylist(), strict=True):
                if text and any(search(text) for search in self._searches):
                    found[row] = True
        return found

    def _with_pieces(self, batch: pa.RecordBatch) -> np.ndarray:
        found = np.zeros(len(batch), bool)
        for starts, texts in _texts(batch):
            has = pc.match_substring_regex(texts.fill_null(""), self._pieces)
            (places,) = np.nonzero(has.to_numpy(zero_copy_only=False))
            found[np.searchsorted(starts, places, side="right") - 1] = True
        return found


def _texts(batch: pa.RecordBatch) -> Iterator[tuple[np.ndarray, pa.StringArray]]:
    """All texts of each column that has any, and where those of each row start."""
    for name in MESSAGE_COLUMNS:
        column = batch.column(name)
        if column.null_count < len(column):
            starts, _, contents = flat_messages(column)
            yield starts, contents
    if (text := batch.column("text")).null_count < len(text):
        yield np.arange(len(text) + 1), text
    if (options := batch.column("options")).null_count < len(options):
        offsets = options.offsets.to_numpy()
        yield offsets - offsets[0], options.values.slice(offsets[0], offsets[-1] - offsets[0])


def _said(batch: pa.RecordBatch) -> Iterator[pa.StringArray]:
    """All that rows say, each column as one text a row."""
    for starts, texts in _texts(batch):
        lists = pa.ListArray.from_arrays(pa.array(starts, pa.int32()), texts)
        yield pc.binary_join(lists, "\n")


_QUANTIFIERS = "*?+{"
# Escapes that stand for a class of characters or for a place.
_CLASSES = "dDwWsSbBAZ"


def plain_piece(pattern: re.Pattern) -> str | None:
    r"""The longest piece of text that is in all that a pattern matches; None if none is seen.

    >>> plain_piece(re.compile(r"加(微信|QQ)?群[号聊]*\d")), plain_piece(re.compile("广告|推广"))
    ('群', None)
    """
    source = pattern.pattern
    if pattern.flags & (re.IGNORECASE | re.VERBOSE) or "(?#" in source:
        return None
    pieces, depth, place = [""], 0, 0
    while place < len(source):
        character = source[place]
        place += 1
        if character == "\\":
            character = source[place]
            place += 1
            if character.isalnum():
                if character not in _CLASSES:
                    return None  # a character by its number, or what a group has matched
                pieces.append("")
                continue
        elif character == "[":
            place = source.index("]", place + 1 + (source[place] == "^"))
            while _escaped(source, place):
                place = source.index("]", place + 1)
            place += 1
            pieces.append("")
            continue
        elif character == "|" and not depth:
            return None
        elif character in _QUANTIFIERS:
            # at most the character before it may be missing
            pieces[-1:] = [pieces[-1] if character == "+" else pieces[-1][:-1], ""]
            if character == "{" and "}" in source[place:]:
                place = source.index("}", place) + 1
            continue
        elif character in "()|.^$":
            depth += (character == "(") - (character == ")")
            pieces.append("")
            continue
        if depth or character.isspace():  # white space may be between two texts of a row
            pieces.append("")
        else:
            pieces[-1] += character
    return max(reversed(pieces), key=len) or None


def _escaped(source: str, place: int) -> bool:
    before = source[:place]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1
