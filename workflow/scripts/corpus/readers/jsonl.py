"""JSON lines, one object on each; also one JSON array of objects, as tutorials save it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import orjson
from entry import Entry

from .compressed import SUFFIXES, open_bytes
from .encoding import KEEP, MAX_LINE, detect, escaped, is_damaged, open_text, too_long

if TYPE_CHECKING:
    from . import Reader

# What is read, and parsed by a worker, at a time: long enough to make little of what a task
# costs, short enough that its rows stay in the processor's cache.
BLOCK = 2**20
# Encodings in which the byte of a line end is never part of another character.
BY_BYTES = {"utf-8", "utf-8-sig", "gb18030", "cp950", "big5hkscs"}


class Block(NamedTuple):
    """Whole lines of a file: where they start, in bytes and in lines, and what they are."""

    start: int
    line: int
    data: bytes


class JsonlReader:
    """Objects of a file of JSON lines."""

    def __init__(self, path: Path, options: dict):
        self.path = path
        self.options = options
        self.blank = 0
        self.facts: dict[str, str | int] = {}

    def __iter__(self) -> Iterator[Entry]:
        encoding = self._encoding()
        if self._is_one_value(encoding):
            yield from self._as_json()
            return
        if encoding in BY_BYTES:
            stream = open_bytes(self.path)
        else:
            stream, encoding = _Utf8(open_text(self.path, self.options)[0]), "utf-8"
        with stream:
            for block in blocks(stream, self.path):
                numbers, lines, blank = filled_lines(block.data, block.line, encoding)
                self.blank += blank
                for entry in map(entry_of, numbers, lines):
                    if isinstance(entry.original, bytes):
                        entry.original = entry.original.decode()
                    yield entry

    def encoding_of_blocks(self) -> str | None:
        """The encoding of the file if its blocks can be read one apart from the other, else None.

        Raises:
            SourceError: the file cannot be read or is no text.
        """
        encoding = self._encoding()
        packed = self.path.suffix.lower() in SUFFIXES
        if packed or encoding not in BY_BYTES or self._is_one_value(encoding):
            return None
        return encoding

    @classmethod
    def instead_of(cls, reader: "Reader") -> "JsonlReader | None":
        """The reader to take for a file of JSON lines, also where it is named .json; else None."""
        if isinstance(reader, cls):
            return reader
        from .json_document import JsonReader  # which knows this module

        if not isinstance(reader, JsonReader):
            return None
        lines = cls(reader.path, reader.options)
        first, line_end, rest = lines._head(lines._encoding())
        try:
            is_object = isinstance(orjson.loads(first), dict)
        except orjson.JSONDecodeError:
            return None
        return lines if is_object and line_end and rest.strip() else None

    def _encoding(self) -> str:
        self.facts["encoding"] = detect(self.path, self.options)
        return self.facts["encoding"]

    def _is_one_value(self, encoding: str) -> bool:
        """Whether the file is a JSON document rather than one on each line."""
        first, line_end, rest = self._head(encoding)
        if first.rstrip() in ("[", "{"):
            return True
        if not first.startswith("["):
            return False
        if not (line_end and rest.strip()):
            return True
        try:
            orjson.loads(first)
        except orjson.JSONDecodeError:
            return True
        return False

    def _head(self, encoding: str) -> tuple[str, str, str]:
        """The first filled line, as far as it is short, its end, and some of what follows."""
        with open_bytes(self.path) as file:
            head = file.read(2**16)
        return head.decode(encoding, KEEP).lstrip("\ufeff \t\r\n").partition("\n")

    def _as_json(self) -> Iterator[Entry]:
        from .json_document import JsonReader

        reader = JsonReader(self.path, self.options)
        yield from reader
        self.blank, self.facts = reader.blank, reader.facts


class _Utf8:
    """A text stream as one of bytes in UTF-8, with what was damaged still recognisable."""

    def __init__(self, stream):
        self._stream = stream

    def read(self, size: int) -> bytes:
        return self._stream.read(size // 4).encode("utf-8", "surrogatepass")

    def __enter__(self) -> "_Utf8":
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()


def blocks(stream, path: Path) -> Iterator[Block]:
    """Parts of a stream of bytes that end with a line end, or with the stream.

    Raises:
        SourceError: a line is too long to be read.
    """
    start, line = 0, 1
    rest: list[bytes] = []  # of a line whose end has not come yet
    size = 0
    while data := stream.read(BLOCK):
        end = data.rfind(b"\n") + 1
        if not end:
            rest.append(data)
            size += len(data)
            if size > MAX_LINE:
                raise too_long(path, f"line {line}", MAX_LINE)
            continue
        whole = b"".join((*rest, data[:end]))
        yield Block(start, line, whole)
        start += len(whole)
        line += whole.count(b"\n")
        rest, size = [data[end:]], len(data) - end
    if last := b"".join(rest):
        yield Block(start, line, last)


def filled_lines(
    data: bytes, first: int, encoding: str
) -> tuple[list[int], list[bytes] | list[str], int]:
    """Numbers of the lines that are not blank, these lines, and how many blank ones there are.

    A line of UTF-8 is left as bytes: who writes it needs it as bytes again, and decoding and
    encoding takes longer than parsing.

    Args:
        data: whole lines, in one of the encodings BY_BYTES.
        first: number of the first line, counted from 1.
        encoding: their encoding.
    """
    is_utf8 = encoding.startswith("utf-8")
    split = data.split(b"\n")
    if not split[-1]:
        split.pop()
    if first == 1 and split and is_utf8:
        split[0] = split[0].removeprefix(b"\xef\xbb\xbf")
    lines: list = [line.strip() for line in split]
    numbers = list(range(first, first + len(lines)))
    if b"" in lines:
        numbers = [number for number, line in zip(numbers, lines, strict=True) if line]
        lines = [line for line in lines if line]
    blank = len(split) - len(lines)
    if not is_utf8:
        lines = [line.decode(encoding, KEEP) for line in lines]
    return numbers, lines, blank


def entry_of(number: int, line: bytes | str) -> Entry:
    """The entry of a line of `filled_lines`."""
    try:
        return Entry(f"line {number}", line, orjson.loads(line))
    except orjson.JSONDecodeError:
        return _second_try(f"line {number}", line)


def _second_try(locator: str, text: str | bytes) -> Entry:
    """The entry of a line that is no strict JSON, or no text."""
    text = text if isinstance(text, str) else text.decode("utf-8", KEEP)
    if is_damaged(text):
        return Entry(
            locator,
            escaped(text),
            reason="undecodable",
            detail="has bytes that are no characters in the encoding of the file",
        )
    try:
        value = json.loads(text)  # which takes NaN, as Python's own json writes it
    except RecursionError:
        return Entry(locator, text, reason="malformed_row", detail="is nested too deep")
    except ValueError as error:
        return Entry(locator, text, reason="malformed_row", detail=f"broken JSON: {error}")
    return Entry(locator, text, value)
