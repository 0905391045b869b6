"""Excel workbooks: a sheet whose first filled row names the columns."""

import datetime
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import python_calamine as calamine

from .office import open_archive
from .row import Row, SourceError


class XlsxReader:
    """Pairs of two named columns of one sheet."""

    def __init__(self, path: Path, options: dict):
        self.path = path
        self.sheet = options.get("sheet")
        self.columns = (options.get("question", "question"), options.get("answer", "answer"))
        self.blank = 0

    def __iter__(self) -> Iterator[Row]:
        sheet = self._open_sheet()
        # iter_rows begins with the first row of the sheet, but with the first filled column
        first_column = sheet.start[1] if sheet.start else 0
        rows = enumerate(sheet.iter_rows(), start=1)
        filled = (cells for _, cells in rows if any(cell != "" for cell in cells))
        headings = [_text(cell).strip() for cell in next(filled, [])]
        question, answer = (self._column(sheet.name, headings, name) for name in self.columns)
        letters = column_letters(first_column + question)
        for number, cells in rows:
            if all(cell == "" for cell in cells):
                self.blank += 1
                continue
            named = {
                heading or column_letters(first_column + index): _text(cell)
                for index, (heading, cell) in enumerate(zip(headings, cells, strict=True))
            }
            row = Row(f"{sheet.name}!{letters}{number}", json.dumps(named, ensure_ascii=False))
            for index in (question, answer):
                if not _is_readable(cells[index]):
                    row.reason = "malformed_row"
                    row.detail = (
                        f"the cell of {headings[index]!r} holds a date, time or truth value, shown "
                        "in a form this reader cannot know; make it a text cell"
                    )
            if row.reason is None:
                row.question, row.answer = _text(cells[question]), _text(cells[answer])
                row.meta = {
                    heading: named[heading]
                    for index, heading in enumerate(headings)
                    if heading and index not in (question, answer) and named[heading]
                }
            yield row

    def _open_sheet(self) -> calamine.CalamineSheet:
        open_archive(self.path, "an Excel workbook").close()
        try:
            book = calamine.CalamineWorkbook.from_path(str(self.path))
            names = book.sheet_names
            if self.sheet is None and len(names) == 1:
                return book.get_sheet_by_index(0)
            if self.sheet in names:
                return book.get_sheet_by_name(self.sheet)
        except (calamine.CalamineError, zipfile.BadZipFile, OSError) as error:
            raise SourceError(
                f"{self.path}: is damaged or not an Excel workbook ({error}). "
                "Open it in Excel and save it again as .xlsx."
            ) from error
        has = f"has the sheet{'s' if len(names) > 1 else ''} {', '.join(names)}"
        if self.sheet is None:
            raise SourceError(f"{self.path}: {has}. Say which one with `sheet:` in corpus.sources.")
        raise SourceError(
            f"{self.path}: has no sheet {self.sheet!r}; it {has}. "
            "Correct `sheet:` in corpus.sources."
        )

    def _column(self, sheet: str, headings: list[str], name: str) -> int:
        count = headings.count(name)
        if count == 1:
            return headings.index(name)
        found = ", ".join(heading for heading in headings if heading) or "nothing"
        problem = f"{count} columns" if count else "no column"
        raise SourceError(
            f"{self.path}: the sheet {sheet!r} has {problem} {name!r}; its first filled row reads "
            f"{found}. Correct `question:` or `answer:` in corpus.sources, or the sheet."
        )


def column_letters(index: int) -> str:
    """Letters of a column counted from 0.

    >>> column_letters(0), column_letters(25), column_letters(26)
    ('A', 'Z', 'AA')
    """
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def _is_readable(cell: object) -> bool:
    return isinstance(cell, str | int | float) and not isinstance(cell, bool)


def _text(cell: object) -> str:
    if isinstance(cell, float):
        # Excel keeps every number as a double and shows at most 15 digits of it
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else f"{cell:.15g}"
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    return str(cell)
