"""Rows gathered into record batches of the schema `files.ROWS`."""

import json
from itertools import chain

import numpy as np
import orjson
import pyarrow as pa
from entry import Entry
from files import BATCH, BATCH_CHARS, MESSAGES, NAME, ROWS, pack_messages, pack_texts
from readers.encoding import Undecodable, any_suspect, escaped, is_damaged, is_suspect, repair
from readers.jsonl import entry_of
from shapes import Shape, ShapeError
from shapes.content import Content, Pair, meta_of
from values import Values

SURROGATE = "holds half of a character (a lone surrogate)"


class Batch:
    """Rows of one source that wait to be made columns."""

    def __init__(self, source: dict, shape: Shape):
        """Start empty.

        Args:
            source: an entry of corpus.sources with the path of one file.
            shape: finds what a row says.
        """
        self._path = source["path"]
        self._side = source.get("side")
        self._values = Values(source["path"], source["values"]) if "values" in source else None
        self._shape = shape
        self._clear()

    def _clear(self) -> None:
        self._columns: dict[str, list] = {field.name: [] for field in ROWS}
        self._number = self._chars = 0

    @property
    def is_full(self) -> bool:
        """Whether the rows should be taken before more are added."""
        return self._number >= BATCH or self._chars >= BATCH_CHARS

    def add(self, entry: Entry) -> None:
        """Add a row; one whose shape or text is wrong gets the reason for its rejection."""
        content = meta = None
        if entry.reason is None:
            try:
                content = self._shape.content(entry.value)
                _mend(entry, content)
                if self._values:
                    self._values.put_into(content, entry.locator)
                meta = _dumped(content.meta)
            except ShapeError as error:
                content, entry.reason, entry.detail = None, error.reason, error.detail
            except Undecodable as error:
                content, entry.reason, entry.detail = None, "undecodable", str(error)
            except UnicodeEncodeError:
                content, entry.reason, entry.detail = None, "undecodable", SURROGATE
            except RecursionError:
                content, entry.reason, entry.detail = None, "malformed_row", "is nested too deep"
        self._extend(
            1,
            locator=[_text(entry.locator)],
            original=[_bytes(entry.original)],
            kind=[content and content.kind],
            messages=[(content and content.messages) or None],
            chosen=[(content and content.chosen) or None],
            rejected=[(content and content.rejected) or None],
            text=[content and content.text],
            options=[content and content.options],
            meta=[meta],
            repaired=[entry.repaired],
            reason=[entry.reason],
            detail=[entry.detail and _text(entry.detail)],
        )
        self._chars += len(entry.original)

    def add_lines(self, numbers: list[int], lines: list[bytes] | list[str]) -> None:
        """Add the rows of JSON lines, as `readers.jsonl.filled_lines` finds them.

        A question with its answer and undamaged texts, which most rows are, goes into the columns
        as it is; every other row takes the way of `add`, with the same result.
        """
        pairs = [None if self._values else self._pair(line) for line in lines]
        if any_suspect("".join(chain.from_iterable(pair[0] for pair in pairs if pair))):
            pairs = [None if pair and any(map(is_suspect, pair[0])) else pair for pair in pairs]
        start = 0
        others = [place for place, pair in enumerate(pairs) if pair is None]
        for place in (*others, len(lines)):
            if place > start:
                run = slice(start, place)
                self._add_pairs(numbers[run], lines[run], pairs[run])
            if place < len(lines):
                self.add(entry_of(numbers[place], lines[place]))
            start = place + 1

    def _pair(self, line: bytes | str) -> tuple[tuple[str, str], bytes | None] | None:
        """Question, answer and meta of a line; None where it is anything else."""
        try:
            row = orjson.loads(line)
            build = self._shape.builder(row) if type(row) is dict else None
            if type(build) is not Pair:
                return None
            meta = meta_of(row, build.rest)
            return (build.question(row), build.answer(row)), orjson.dumps(meta) if meta else None
        except (ShapeError, ValueError, TypeError, RecursionError):
            return None

    def _add_pairs(self, numbers: list[int], lines: list[bytes | str], pairs: list) -> None:
        said, meta = zip(*pairs, strict=True)
        self._extend(
            len(lines),
            locator=[f"line {number}" for number in numbers],
            original=map(_bytes, lines),
            kind=["chat"] * len(lines),
            messages=[[("user", question), ("assistant", answer)] for question, answer in said],
            meta=meta,
        )

    def _extend(self, number: int, **columns: list) -> None:
        self._number += number
        for name, values in self._columns.items():
            values += columns.get(name) or [None] * number

    def take(self) -> pa.RecordBatch:
        """The rows as a record batch; the object is empty afterwards."""
        columns = self._columns | {"source": [self._path] * self._number}
        columns["side"] = [self._side] * self._number
        arrays = [_packed(columns[field.name], field) for field in ROWS]
        self._clear()
        return pa.RecordBatch.from_arrays(arrays, schema=ROWS)


def _packed(values: list, field: pa.Field) -> pa.Array:
    if field.type == NAME:
        return _names(values)
    if values.count(None) == len(values):
        return pa.nulls(len(values), field.type)
    if field.type == MESSAGES:
        return pack_messages(values)
    if field.name in ("original", "meta"):
        return pack_texts(values)
    return pa.array(values, field.type)


def _mend(entry: Entry, content: Content) -> None:
    """Repair the texts of a row.

    Raises:
        Undecodable: one of them is damaged beyond repair.
    """

    def mended(text: str) -> str:
        text, damage = repair(text)
        entry.repaired = damage or entry.repaired
        return text

    content.change_texts(mended)


def _text(text: str) -> str:
    return escaped(text) if is_damaged(text) else text


def _bytes(original: str | bytes) -> bytes:
    return original if isinstance(original, bytes) else _text(original).encode()


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
