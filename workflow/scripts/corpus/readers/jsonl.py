"""JSON lines, one object per line; also one JSON array of objects, as tutorials save it."""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path

import orjson

from .row import Row, SourceError

# A line beyond this is no row of a corpus; reading it whole could exhaust the memory.
MAX_LINE = 64 * 2**20
OTHER_ENCODINGS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


class JsonlReader:
    """Pairs of two named fields of each object."""

    def __init__(self, path: Path, options: dict):
        self.path = path
        self.columns = (options.get("question", "question"), options.get("answer", "answer"))
        self.blank = 0
        self._complete = False
        self._fields: dict[str, None] = {}

    def __iter__(self) -> Iterator[Row]:
        objects = 0
        for locator, original, value in self._values():
            objects += isinstance(value, dict)
            yield self._row(locator, original, value)
        if objects and not self._complete:
            raise SourceError(
                f"{self.path}: no object has both fields {self.columns[0]!r} and "
                f"{self.columns[1]!r}; fields found: {', '.join(self._fields) or 'none'}. "
                "Correct `question:` and `answer:` in corpus.sources."
            )

    def _values(self) -> Iterator[tuple[str, str, object]]:
        """Locator, text and value of each entry; a ValueError as value where it is broken JSON."""
        try:
            with self.path.open("rb") as file:
                start = self._start(file)
                if start == b"[":
                    yield from self._array(file)
                else:
                    yield from self._lines(file)
        except OSError as error:
            raise SourceError(f"{self.path}: cannot be read: {error.strerror}.") from error

    def _start(self, file) -> bytes:
        """First byte that is not white space; leaves the file behind its byte order mark."""
        head = file.read(4)
        for mark, name in OTHER_ENCODINGS.items():
            if head.startswith(mark):
                raise SourceError(
                    f"{self.path}: line 1, byte offset 0: is {name}, not UTF-8. Convert it: "
                    f"iconv -f {name} -t UTF-8 {self.path.name} > utf8.jsonl"
                )
        begin = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
        file.seek(begin)
        first = b""
        while (byte := file.read(1)) and byte in b" \t\r\n":
            pass
        first = byte
        file.seek(begin)
        return first

    def _lines(self, file) -> Iterator[tuple[str, str, object]]:
        number = 0
        while True:
            offset = file.tell()
            line = file.readline(MAX_LINE + 1)
            if not line:
                return
            number += 1
            if len(line) > MAX_LINE:
                raise SourceError(
                    f"{self.path}: line {number}: is longer than {MAX_LINE >> 20} MiB. "
                    "Put each object on a line of its own."
                )
            text = self._decode(line, number, offset).strip()
            if not text:
                self.blank += 1
                continue
            try:
                value = orjson.loads(text)
            except orjson.JSONDecodeError as error:
                value = ValueError(f"broken JSON: {error}")
            yield f"line {number}", text, value

    def _array(self, file) -> Iterator[tuple[str, str, object]]:
        offset = file.tell()
        text = self._decode(file.read(), 1, offset)
        try:
            values = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise SourceError(
                f"{self.path}: begins with '[' but is no JSON array: {error}. Correct it, or "
                "put one object on each line."
            ) from error
        for number, value in enumerate(values, start=1):
            yield f"item {number}", json.dumps(value, ensure_ascii=False), value

    def _decode(self, data: bytes, line: int, offset: int) -> str:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            line += data.count(b"\n", 0, error.start)
            raise SourceError(
                f"{self.path}: line {line}, byte offset {offset + error.start}: is not UTF-8 "
                f"({error.reason}). Convert the file, for example: "
                f"iconv -f GB18030 -t UTF-8 {self.path.name} > utf8.jsonl"
            ) from error

    def _row(self, locator: str, original: str, value: object) -> Row:
        row = Row(locator, original)
        problem = self._problem(value)
        if problem:
            row.reason, row.detail = "malformed_row", problem
            return row
        row.question, row.answer = (value[name] for name in self.columns)
        row.meta = {name: field for name, field in value.items() if name not in self.columns}
        return row

    def _problem(self, value: object) -> str | None:
        if isinstance(value, ValueError):
            return str(value)
        if not isinstance(value, dict):
            return f"is {_kind(value)}, not an object"
        self._fields.update(dict.fromkeys(value) if len(self._fields) < 20 else {})
        for name in self.columns:
            if name not in value:
                return f"has no field {name!r}"
        # whatever their values: the names are not mistaken
        self._complete = True
        for name in self.columns:
            if not isinstance(value[name], str):
                return f"the field {name!r} is {_kind(value[name])}, not a text"
        return None


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "a truth value", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "an object" if isinstance(value, dict) else "a text")
