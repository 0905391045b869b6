"""JSON that is not one object per line: an array, an object of arrays, objects one after another.

The rows are cut out of the text one by one, so that a file of any size is read in little memory,
a row that is no JSON does not spoil the others, and each row is shown as it stands in the file.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import orjson
from entry import Entry, SourceError

from .encoding import MAX_LINE, escaped, is_damaged, open_text, too_long
from .jsonl import JsonlReader
from .mapping import mapped_fields

CHUNK = 2**20
# Lists of objects that are parts of one row, not lists of rows.
TURNS = {"messages", "conversations", "conversation", "chosen", "rejected", "history", "tools"}
# An object that has one of these is a row, whatever else it has.
FIELDS_OF_A_ROW = {
    *("question", "answer", "instruction", "input", "output", "prompt", "query", "response"),
    *("text", "q", "a", "问题", "答案", "题目", "问", "答"),
}

_SPACE = re.compile(r"[ \t\r\n\ufeff]*+")
_SEPARATORS = re.compile(r"[ \t\r\n,]*+")
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR = re.compile(r'[^\s,:"\[\]{}]++(?=.)', re.DOTALL)
# To the next bracket outside of strings: what is in between is one step of the matcher.
_BRACKET = re.compile(r'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+[\[\]{}]', re.DOTALL)


class JsonReader:
    """Rows of a JSON document."""

    def __init__(self, path: Path, options: dict):
        self.path = path
        self.options = options
        self.blank = 0
        self.facts: dict[str, str | int] = {}
        mapped = {field for _, field in mapped_fields(options)}
        self._lists_of_a_row = TURNS | mapped
        self._fields_of_a_row = FIELDS_OF_A_ROW | mapped

    def __iter__(self) -> Iterator[Entry]:
        stream, facts = open_text(self.path, self.options)
        with stream:
            text = _Text(stream, self.path)
            if text.is_lines():
                yield from self._as_lines()
                return
            self.facts = facts
            number = 0
            while first := text.peek(_SEPARATORS):
                if first == "[":
                    for raw in text.items(f"item {number + 1}"):
                        number += 1
                        yield _entry(f"item {number}", raw)
                elif first == "{":
                    number += 1
                    yield from self._object(text, f"item {number}")
                else:
                    raise text.error(f"begins with {first!r}, not with a {{ or [")

    def _as_lines(self) -> Iterator[Entry]:
        reader = JsonlReader(self.path, self.options)
        yield from reader
        self.blank, self.facts = reader.blank, reader.facts

    def _object(self, text: "_Text", place: str) -> Iterator[Entry]:
        """The rows in the arrays of an object; the object itself where it has none."""
        text.skip("{")
        fields, lists = [], []
        size, is_row = 0, False
        while (first := text.peek(_SEPARATORS)) != "}":
            if first != '"':
                raise text.error(f"{place} has {first!r} in place of a field" if first else None)
            key = text.string(place)
            if text.peek() != ":":
                raise text.error(f"{place} has no colon after the field {key}")
            text.skip(":")
            name = escaped(key[1:-1])
            is_row = is_row or name in self._fields_of_a_row
            has_rows = text.begins_list_of_objects() and name not in self._lists_of_a_row
            if has_rows and not is_row:
                lists.append(name)
                for number, raw in enumerate(text.items(f"{name}[0]")):
                    yield _entry(f"{name}[{number}]", raw)
                continue
            fields.append((name, f"{key}: {text.value(place)}"))
            size += len(fields[-1][1])
            if size > MAX_LINE:
                raise too_long(self.path, place, MAX_LINE)
        text.skip("}")
        if not lists:
            yield _entry(place, "{" + ", ".join(raw for _, raw in fields) + "}")
        elif fields:
            # not rows, but not passed over in silence either
            self.facts["fields beside the rows"] = ", ".join(name for name, _ in fields)


def _entry(place: str, text: str) -> Entry:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if is_damaged(text):
            detail = "has bytes that are no characters in the encoding of the file"
            return Entry(place, escaped(text), reason="undecodable", detail=detail)
        try:
            value = json.loads(text)  # which takes NaN, as Python's own json writes it
        except RecursionError:
            return Entry(place, text, reason="malformed_row", detail="is nested too deep")
        except ValueError:
            return Entry(place, text, reason="malformed_row", detail=f"broken JSON: {error}")
    if isinstance(value, dict):
        return Entry(place, text, value)
    return Entry(place, text, reason="malformed_row", detail="is not an object")


class _Text:
    """A stream of text of which only the part in work is held."""

    def __init__(self, stream: TextIO, path: Path):
        self._stream = stream
        self._path = path
        self._text = ""
        self._at = 0
        self._line = 1
        self._ended = False

    def error(self, problem: str | None) -> SourceError:
        """The error for a text that cannot be taken apart here; None where it just ends."""
        line = self._line + self._text.count("\n", 0, self._at)
        problem = problem or "the file ends before its brackets are closed; it seems to be cut off"
        return SourceError(
            f"{self._path}: line {line}: {problem}. Correct it, or put one object on each line."
        )

    def is_lines(self) -> bool:
        """Whether there is a whole object on the first filled line, and more behind it."""
        if self.peek() != "{":
            return False
        line, _, rest = self._text[self._at :].partition("\n")
        if not rest.strip():
            return False
        try:
            return isinstance(orjson.loads(line), dict)
        except orjson.JSONDecodeError:
            return False

    def peek(self, space: re.Pattern = _SPACE) -> str:
        """The next character that is not space, "" at the end."""
        while True:
            self._at = space.match(self._text, self._at).end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._fill():
                return ""

    def skip(self, character: str) -> None:
        """Step over what `peek` has shown."""
        self._at += len(character)

    def begins_list_of_objects(self) -> bool:
        """Whether the next value is an array whose first item is an object."""
        if self.peek() != "[":
            return False
        while True:
            inner = _SPACE.match(self._text, self._at + 1).end()
            if inner < len(self._text) or not self._fill():
                return self._text[inner : inner + 1] == "{"

    def items(self, place: str) -> Iterator[str]:
        """The text of each item of the array that comes next."""
        self.skip("[")
        while (first := self.peek(_SEPARATORS)) != "]":
            if not first:
                raise self.error(None)
            yield self.value(place)
        self.skip("]")

    def string(self, place: str) -> str:
        """The text of the string that comes next, quotes included."""
        return self._take(self._match(_STRING, 0, place))

    def value(self, place: str) -> str:
        """The text of the value that comes next, whatever it is."""
        match self.peek():
            case "{" | "[":
                return self._take(self._end_of_brackets(place))
            case '"':
                return self.string(place)
            case first if first and first not in "]}:":
                return self._take(self._match(_SCALAR, 0, place))
            case first:
                raise self.error(f"{first!r} in place of a value" if first else None)

    def _end_of_brackets(self, place: str) -> int:
        """Offset behind the bracket that closes this value; one left open inside is no matter."""
        still_open: list[str] = []
        end = 0
        while True:
            end = self._match(_BRACKET, end, place)
            bracket = self._text[self._at + end - 1]
            if bracket in "{[":
                still_open.append(bracket)
                continue
            opening = "{" if bracket == "}" else "["
            if still_open[-1] != opening and opening not in still_open:
                return end - 1  # closes what the value is in
            while still_open.pop() != opening:
                pass
            if not still_open:
                return end

    def _match(self, pattern: re.Pattern, offset: int, place: str) -> int:
        """End of a match that begins at an offset from where the text stands, as an offset."""
        while not (found := pattern.match(self._text, self._at + offset)):
            if len(self._text) - self._at > MAX_LINE:
                raise too_long(self._path, place, MAX_LINE)
            if not self._fill():
                raise self.error(None)
        return found.end() - self._at

    def _take(self, length: int) -> str:
        start, self._at = self._at, self._at + length
        return self._text[start : self._at]

    def _fill(self) -> bool:
        """Read on and forget what has been taken; false at the end of the file."""
        if self._ended:
            return False
        self._line += self._text.count("\n", 0, self._at)
        left = self._text[self._at :]
        # at least as much again, so that a long row is not searched over and over
        more = self._stream.read(max(CHUNK, len(left)))
        self._ended = not more
        self._text, self._at = left + more, 0
        return not self._ended
