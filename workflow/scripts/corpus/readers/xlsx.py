"""Excel worksheets (.xlsx, .xls): a row of headings, and a row of data per entry."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
from entry import Entry, SourceError

from .mapping import Need, needs_of
from .workbook import (
    CellError,
    Cells,
    Range,
    Sheet,
    Workbook,
    column_index,
    column_letters,
    open_workbook,
)

LETTERS = re.compile("[A-Z]{1,3}")
# Merged further down than this from the headings, a cell is a label beside the table.
MAX_HEADING_ROWS = 3
# Rows looked at to learn how wide a sheet is.
FIRST_ROWS = 100


@dataclass(slots=True)
class _Table:
    """What is known of a sheet before its rows are read."""

    sheet: Sheet
    headings: Cells
    last_heading: int  # row
    above: int  # filled rows above the headings
    fields: dict[str, int]  # keys of the values, with their columns
    used: list[int]  # columns that the mapping names, all where there is none
    letter: str  # of the column that locators name
    merged: list[Range]


class XlsxReader:
    """Rows of one or several sheets as heading -> text as shown.

    Options of the source: `sheet` (a name, a list of names, or "*" for all that are not hidden;
    may be left out where there is only one), `header_row`, and the mapping, which names columns by
    heading or, where no heading reads so, by letter.

    Without `header_row` the first filled row holds the headings, unless it is a single cell merged
    over several columns: a title. Headings merged over several rows make all of these headings; the
    lowest filled cell of a column is its name. A column without heading has its letters as name; of
    columns with the same heading the later ones have their letters behind it.

    A cell merged over several rows fills all of them in its first column. Rows without a cell of
    their own count as blank, so a record whose cells are all merged over two rows is one row.
    A row is malformed where a column of the mapping (of the sheet, without a mapping) shows an
    error such as #N/A.
    """

    def __init__(self, path: Path, options: dict):
        self.path = path
        self.sheet = options.get("sheet")
        self.header_row = options.get("header_row")
        self.mapped = needs_of(options)
        self.blank = 0
        self.facts: dict[str, str | int] = {}

    def __iter__(self) -> Iterator[Entry]:
        with open_workbook(self.path) as book:
            sheets = self._sheets(book)
            # all headings first: a missing column is told before anything is read
            tables = [table for sheet in sheets if (table := self._table(book, sheet))]
            if not tables:
                raise SourceError(f"{self.path}: all its sheets are empty. Check the workbook.")
            self.facts["sheets"] = "; ".join(
                f"{table.sheet.name} (headings in row {table.last_heading})" for table in tables
            )
            if above := sum(table.above for table in tables):
                self.facts["rows above the headings"] = above
            for table in tables:
                yield from self._entries(book, table)
            if codes := book.unformatted():
                self.facts["number formats not applied"] = ", ".join(codes)

    def _sheets(self, book: Workbook) -> list[Sheet]:
        named = {sheet.name: sheet for sheet in book.sheets}
        shown = [sheet for sheet in book.sheets if not sheet.hidden]
        if (self.sheet is None and len(shown) == 1) or self.sheet == "*":
            if hidden := [sheet.name for sheet in book.sheets if sheet.hidden]:
                self.facts["hidden sheets left out"] = ", ".join(hidden)
            if shown:
                return shown
        has = f"has the sheet{'s' if len(named) != 1 else ''} {', '.join(named) or '(none)'}"
        if self.sheet is None or self.sheet == "*":
            raise SourceError(
                f"{self.path}: {has}. Say which one with `sheet:` in corpus.sources "
                '("*" for all that are not hidden).'
            )
        wanted = [self.sheet] if isinstance(self.sheet, str) else self.sheet
        for name in wanted:
            if name not in named:
                raise SourceError(
                    f"{self.path}: has no sheet {name!r}; it {has}. "
                    "Correct `sheet:` in corpus.sources."
                )
        return [named[name] for name in wanted]

    # -------------------------------------------------------------------------------- headings

    def _table(self, book: Workbook, sheet: Sheet) -> _Table | None:
        """What the headings and the mapping say of a sheet; None for an empty one of "*"."""
        merged = book.merged(sheet)
        first = self._first_rows(book, sheet)
        header_row = self.header_row or _header_row(first, merged)
        headings = first.get(header_row)
        if headings is None:
            if self.sheet == "*" and not first:
                return None
            found = f"its filled rows are {_shortened(first)}" if first else "it reads nothing"
            raise SourceError(
                f"{self.path}: the sheet {sheet.name!r} has no headings"
                f"{f' in row {header_row}' if header_row else ''}; {found}. "
                "Correct `sheet:` or `header_row:` in corpus.sources, or the workbook."
            )
        last = max(
            (
                bottom
                for top, left, bottom, _ in merged
                if top <= header_row <= bottom < top + MAX_HEADING_ROWS and left in headings
            ),
            default=header_row,
        )
        for number in range(header_row + 1, last + 1):
            headings = headings | first.get(number, {})
        headings = {
            column: text.strip() for column, text in sorted(headings.items()) if text.strip()
        }
        width = max(column for cells in first.values() for column in cells) + 1
        columns: dict[tuple[str, str], int] = {}
        for need in self.mapped:
            columns |= self._columns(sheet, headings, width, need)
        mapped = {name: column for (_, name), column in columns.items()}
        fields: dict[str, int] = {}
        for column, text in headings.items():
            if text in mapped or column not in mapped.values():  # else: named by its letter alone
                repeated = text in fields
                fields[f"{text} ({column_letters(column)})" if repeated else text] = column
        fields |= mapped
        main = (columns[key, f] for key, f in columns if key in ("question", "text", "messages"))
        return _Table(
            sheet=sheet,
            headings=headings,
            last_heading=last,
            above=sum(number < header_row for number in first),
            fields=fields,
            used=sorted(set(columns.values())),
            letter=column_letters(next(main, min(headings, default=0))),
            merged=merged,
        )

    def _first_rows(self, book: Workbook, sheet: Sheet) -> dict[int, Cells]:
        count = FIRST_ROWS + (self.header_row or 0)
        return dict(itertools.islice(book.rows(sheet), count))

    def _columns(
        self, sheet: Sheet, headings: Cells, width: int, need: Need
    ) -> dict[tuple[str, str], int]:
        """Columns of the fields that one place of the mapping names, by its key and the field."""
        columns = {}
        for name in need.fields:
            found = [column for column, text in headings.items() if text == name.strip()]
            if not found and LETTERS.fullmatch(name) and column_index(name) < width:
                found = [column_index(name)]
            if len(found) > 1:
                raise self._no_column(
                    sheet, headings, width, need.key, f"{len(found)} columns {name!r}"
                )
            if found:
                columns[need.key, name] = found[0]
        if not columns and not need.optional:
            names = " or ".join(map(repr, need.fields))
            raise self._no_column(sheet, headings, width, need.key, f"no column {names}")
        return columns

    def _no_column(
        self, sheet: Sheet, headings: Cells, width: int, key: str, problem: str
    ) -> SourceError:
        return SourceError(
            f"{self.path}: the sheet {sheet.name!r} has {problem}; its headings are "
            f"{', '.join(headings.values()) or 'nothing'} (columns A to "
            f"{column_letters(width - 1)}). Correct `{key}:`, `sheet:` or `header_row:` in "
            "corpus.sources, or the workbook."
        )

    # ------------------------------------------------------------------------------------ rows

    def _entries(self, book: Workbook, table: _Table) -> Iterator[Entry]:
        previous, named = table.last_heading, set(table.fields.values())
        rows = (row for row in book.rows(table.sheet) if row[0] > table.last_heading)
        for number, cells in _filled_down(rows, table):
            self.blank += max(number - previous - 1, 0)
            previous = number
            fields = {name: cells.get(column, "") for name, column in table.fields.items()}
            for column, text in cells.items():
                if column not in named:
                    letters = column_letters(column)
                    # options are often headed A, B, C, D
                    fields[f"column {letters}" if letters in fields else letters] = text
            original = orjson.dumps(fields).decode()
            locator = f"{table.sheet.name}!{table.letter}{number}"
            errors = [
                f"{column_letters(column)}{number} shows an error ({cells[column]})"
                for column in table.used or cells
                if isinstance(cells.get(column), CellError)
            ]
            if errors:
                yield Entry(locator, original, reason="malformed_row", detail="; ".join(errors))
            else:
                yield Entry(locator, original, fields)


def _header_row(first: dict[int, Cells], merged: list[Range]) -> int | None:
    titles = {(top, left) for top, left, _, right in merged if right > left}
    for number, cells in first.items():
        if len(cells) > 1 or (number, *cells) not in titles:
            return number
    return next(iter(first), None)


def _filled_down(rows: Iterator[tuple[int, Cells]], table: _Table) -> Iterator[tuple[int, Cells]]:
    """Rows with the texts of cells merged over several of them, rows in the order of the sheet."""
    starts: dict[int, list[tuple[int, int]]] = {}
    for top, left, bottom, _ in table.merged:
        if top > table.last_heading and bottom > top:
            starts.setdefault(top, []).append((left, bottom))
    active: dict[int, tuple[int, str]] = {}
    for number, cells in rows:
        if active:
            active = {column: fill for column, fill in active.items() if fill[0] >= number}
            cells |= {column: text for column, (_, text) in active.items()}
        for column, bottom in starts.get(number, ()):
            if column in cells:
                active[column] = (bottom, cells[column])
        yield number, cells


def _shortened(rows: dict[int, Cells]) -> str:
    numbers = [str(number) for number in itertools.islice(rows, 6)]
    return ", ".join(numbers[:5]) + (" ..." if len(numbers) > 5 else "")
