"""Rows gathered into record batches of the schema `files.ROWS`."""

import json
from collections.abc import Iterator

import numpy as np
import orjson
import pyarrow as pa
from entry import Entry
from files import BATCH, BATCH_CHARS, NAME, ROWS, pack_messages, pack_texts
from readers.encoding import Undecodable, escaped, is_damaged, repair
from readers.jsonl import as_text
from shapes import Shape, ShapeError
from shapes.content import Content

SURROGATE = "holds half of a character (a lone surrogate)"


class Batch:
    """Rows of one source that wait to be made columns."""

    def __init__(self, path: str, side: str | None, shape: Shape):
        """Start empty.

        Args:
            path: the source, as the rows name it.
            side: the side of the split that the source is meant for, None for either.
            shape: finds what a row says.
        """
        self._path = path
        self._side = side
        self._shape = shape
        self._entries: list[Entry] = []
        self._contents: list[Content | None] = []
        self._meta: list[bytes | None] = []
        self._chars = 0

    @property
    def is_full(self) -> bool:
        """Whether the rows should be taken before more are added."""
        return len(self._entries) >= BATCH or self._chars >= BATCH_CHARS

    def add(self, entry: Entry) -> None:
        """Add a row; one whose shape or text is wrong gets the reason for its rejection."""
        content = meta = None
        if entry.reason is None:
            try:
                content = self._shape.content(entry.value)
                _mend(entry, content)
                meta = _dumped(content.meta)
            except ShapeError as error:
                content, entry.reason, entry.detail = None, error.reason, error.detail
            except Undecodable as error:
                content, entry.reason, entry.detail = None, "undecodable", str(error)
            except UnicodeEncodeError:
                content, entry.reason, entry.detail = None, "undecodable", SURROGATE
            except RecursionError:
                content, entry.reason, entry.detail = None, "malformed_row", "is nested too deep"
        # memory that is free at once is still in the processor's cache for the next row
        entry.value = None
        self._entries.append(entry)
        self._contents.append(content)
        self._meta.append(meta)
        self._chars += len(entry.original)

    def take(self) -> pa.RecordBatch:
        """The rows as a record batch; the object is empty afterwards."""
        try:
            batch = self._columns()
        except UnicodeEncodeError:
            self._reject_surrogates()
            batch = self._columns()
        self._entries, self._contents, self._meta, self._chars = [], [], [], 0
        return batch

    def _columns(self) -> pa.RecordBatch:
        entries, contents = self._entries, self._contents
        number = len(entries)
        columns = {
            "source": _constant(self._path, number),
            "locator": [entry.locator for entry in entries],
            "original": pack_texts([_bytes(entry.original) for entry in entries]),
            "kind": _names([c and c.kind for c in contents]),
            "messages": pack_messages([(c and c.messages) or None for c in contents]),
            "chosen": pack_messages([(c and c.chosen) or None for c in contents]),
            "rejected": pack_messages([(c and c.rejected) or None for c in contents]),
            "text": [c and c.text for c in contents],
            "options": [c and c.options for c in contents],
            "meta": pack_texts(self._meta),
            "side": _constant(self._side, number),
            "repaired": _names([entry.repaired for entry in entries]),
            "reviewed": _constant(None, number),
            "reason": _names([entry.reason for entry in entries]),
            "detail": [entry.detail for entry in entries],
        }
        arrays = [
            column if isinstance(column, pa.Array) else pa.array(column, ROWS.field(name).type)
            for name, column in columns.items()
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=ROWS)

    def _reject_surrogates(self) -> None:
        """Reject the rows that Arrow cannot hold, as UTF-8 has no form for half a character."""
        for index, (entry, content) in enumerate(zip(self._entries, self._contents, strict=True)):
            if content is not None and is_damaged("".join(_texts(content))):
                self._contents[index] = self._meta[index] = None
                entry.reason, entry.detail = "undecodable", SURROGATE
            entry.original = escaped(as_text(entry.original))
            entry.locator = escaped(entry.locator)
            entry.detail = entry.detail and escaped(entry.detail)


def _mend(entry: Entry, content: Content) -> None:
    """Repair the texts of a row.

    Raises:
        Undecodable: one of them is damaged beyond repair.
    """
    for messages in (content.messages, content.chosen, content.rejected):
        for index, (role, text) in enumerate(messages):
            mended, damage = repair(text)
            if damage:
                messages[index] = (role, mended)
                entry.repaired = damage
    if content.text:
        content.text, damage = repair(content.text)
        entry.repaired = entry.repaired or damage
    if content.options:
        mended = [repair(option) for option in content.options]
        content.options = [text for text, _ in mended]
        entry.repaired = entry.repaired or next(
            filter(None, (damage for _, damage in mended)), None
        )


def _texts(content: Content) -> Iterator[str]:
    for messages in (content.messages, content.chosen, content.rejected):
        for _, text in messages:
            yield text
    yield content.text or ""
    yield from content.options or ()


def _bytes(original: str | bytes) -> bytes:
    return original.encode() if isinstance(original, str) else original


def _dumped(meta: dict) -> bytes | None:
    if not meta:
        return None
    try:
        return orjson.dumps(meta)
    except orjson.JSONEncodeError:  # nested deeper than orjson goes, or half a character
        return json.dumps(meta, ensure_ascii=False).encode()


def _names(values: list[str | None]) -> pa.Array:
    """A column of few different names; nearly always all of them are equal."""
    if values and values.count(values[0]) == len(values):
        return _constant(values[0], len(values))
    return pa.array(values, pa.string()).dictionary_encode()


def _constant(value: str | None, number: int) -> pa.Array:
    if value is None:
        return pa.nulls(number, NAME)
    return pa.DictionaryArray.from_arrays(np.zeros(number, np.int32), [value])
