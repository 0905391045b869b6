"""Tables as text: .csv and .tsv, whose first filled row names the columns."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from entry import Entry, SourceError

from .encoding import MAX_LINE, escaped, is_damaged, open_text, read_lines, take_sample, too_long
from .workbook import column_letters

# Occurs in no text, so that a row is one cell.
_NONE = "\x1f"
_NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar", _NONE: "none (one column)"}
# A first line that says nothing but what the delimiter is: Excel writes and takes it.
_HINT = re.compile(r'"?sep=([^\r\n"])"?\s*')
# So much of the file is tried with each delimiter.
SAMPLE_LINES = 200


class DelimitedReader:
    """Rows of a table as mappings from the heading of a column to the text of a cell."""

    delimiters = ",\t;|"

    def __init__(self, path: Path, options: dict):
        self.path = path
        self.options = options
        self.blank = 0
        self.facts: dict[str, str | int] = {}
        # the lines that the row in work is made of
        self._lines: list[str] = []

    def __iter__(self) -> Iterator[Entry]:
        # a cell may be as long as a line; the limit holds for all csv readers of the process
        csv.field_size_limit(MAX_LINE)
        stream, self.facts = open_text(self.path, self.options)
        with stream:
            lines = read_lines(stream, self.path)
            sample = take_sample(lines, SAMPLE_LINES)
            dialect = self._dialect(sample)
            self.facts["delimiter"] = _NAMES.get(dialect["delimiter"], dialect["delimiter"])
            yield from self._entries(self._rows(chain(sample, lines), dialect))

    def _entries(self, rows: Iterator[tuple[int, str, list[str] | csv.Error]]) -> Iterator[Entry]:
        headings: list[str] = []
        for number, original, cells in rows:
            if not original.strip() or (isinstance(cells, list) and not any(map(str.strip, cells))):
                # above the headings there is nothing that a row could be missing from
                self.blank += bool(headings)
                continue
            place = f"line {number}"
            if not headings:
                if _HINT.fullmatch(original):
                    continue
                headings = self._headings(place, cells)
                continue
            entry = Entry(place, original.rstrip("\r\n"))
            if is_damaged(original):
                entry.original = escaped(entry.original)
                entry.reason = "undecodable"
                entry.detail = f"has bytes that are no characters in {self.facts['encoding']}"
            elif problem := _problem(cells, len(headings)):
                entry.reason, entry.detail = "malformed_row", problem
                if lines := original.rstrip("\r\n").count("\n"):
                    entry.detail += f"; it runs on to line {number + lines}: is a quote missing?"
            else:
                entry.value = dict(zip(headings, cells, strict=True))
            yield entry

    def _headings(self, place: str, cells: list[str] | csv.Error) -> list[str]:
        if isinstance(cells, csv.Error):
            raise SourceError(f"{self.path}: {place}: the row of headings is broken: {cells}.")
        headings = [
            escaped(cell).strip() or column_letters(index) for index, cell in enumerate(cells)
        ]
        twice = [name for name, count in Counter(headings).items() if count > 1]
        if twice:
            raise SourceError(
                f"{self.path}: {place}: several columns have the heading "
                f"{', '.join(map(repr, twice))}. Give each column a heading of its own; if the "
                "first row holds no headings, put some above it."
            )
        return headings

    def _rows(
        self, lines: Iterator[str], dialect: dict
    ) -> Iterator[tuple[int, str, list[str] | csv.Error]]:
        """First line, text and cells of each row; the parser's complaint where it has one."""
        reader = csv.reader(self._taken(lines), strict=True, **dialect)
        while True:
            start = reader.line_num + 1
            try:
                cells: list[str] | csv.Error = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                cells = error
                if str(error) == "unexpected end of data":
                    raise SourceError(
                        f"{self.path}: line {start}: a quote that opens in this row is not closed "
                        "to the end of the file, so that the rows behind it cannot be told apart. "
                        'Close it, or write a literal " as "".'
                    ) from error
                if "field limit" in str(error):
                    raise too_long(self.path, f"line {start}", MAX_LINE) from error
            original = "".join(self._lines)
            self._lines.clear()
            yield start, original, cells

    def _taken(self, lines: Iterator[str]) -> Iterator[str]:
        """The lines, noted on their way into the parser."""
        size = 0
        for number, line in enumerate(lines, start=1):
            size = size + len(line) if self._lines else len(line)
            if size > MAX_LINE:
                raise too_long(
                    self.path,
                    f"the row from line {number - len(self._lines)} on, where a quote may be open",
                    MAX_LINE,
                )
            self._lines.append(line)
            yield line

    def _dialect(self, sample: list[str]) -> dict:
        """What parts and quotes cells: the choice that makes the most rows of the sample whole."""
        filled = [line for line in sample if line.strip()]
        if filled and (hint := _HINT.fullmatch(filled[0])):
            return {"delimiter": hint[1]}
        heading = filled[0] if filled else ""
        # with two columns or more, the delimiter is in the row of headings
        marks = [mark for mark in self.delimiters if mark in heading] or [_NONE]
        if given := self.options.get("delimiter"):
            if len(given) != 1 or given in '"\r\n':
                raise SourceError(
                    f"{self.path}: `delimiter: {given!r}` in corpus.sources is not one character "
                    "that can part cells."
                )
            marks = [given]
        choices: list[dict] = [{"delimiter": mark} for mark in marks]
        text = "".join(sample)
        if '\\"' in text:
            choices += [{**choice, "escapechar": "\\", "doublequote": False} for choice in choices]
        if "\t" in marks:
            # many programs write tabs without a thought about quotes
            choices.append({"delimiter": "\t", "quoting": csv.QUOTE_NONE})
        return max(choices, key=lambda choice: _wholeness(text, choice))


class TsvReader(DelimitedReader):
    """The same for .tsv, whose name says what the delimiter is."""

    delimiters = "\t"


def _wholeness(text: str, dialect: dict) -> tuple[float, int]:
    """Share of rows with as many cells as the first one, and that number."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, **dialect)
    width, whole, count = 0, 0, 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error:
            count += 1
            continue
        if cells:
            width = width or len(cells)
            whole += len(cells) == width
            count += 1
    return (whole / max(count, 1) if width > 1 else 0.0), width


def _problem(cells: list[str] | csv.Error, expected: int) -> str | None:
    if isinstance(cells, csv.Error):
        return f'{cells}; a literal " within quotes is written ""'
    if len(cells) != expected:
        found = len(cells)
        return f"has {found} cell{'s' * (found != 1)}, the row of headings has {expected}"
    if any("\0" in cell for cell in cells):
        return "holds a zero byte"
    return None
