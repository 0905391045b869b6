"""Write the extracted pairs as a workbook in which a person corrects, deletes and adds rows.

What cleaning would reject is marked, with a suggestion. apply_review.py takes the workbook back.
"""

import argparse
import datetime
import json
import sys
from pathlib import Path

import xlsxwriter
from cleaning.rules import CleanError, Rules
from entry import SourceError
from reviewing.flags import DOUBTFUL, EDITED, REJECTED, Flags
from reviewing.help import LINES
from reviewing.previous import Item, Items, Previous, key_of
from reviewing.sheet import (
    COLUMNS,
    DELETE,
    FORMAT,
    HELP,
    KEEP,
    MAX_CELL,
    MAX_ROWS,
    ORIGIN,
    ORIGIN_ROWS,
    SHEET,
    Extraction,
    Line,
    ReviewError,
    cell_text,
    open_review,
)

WIDTHS = (8, 24, 18, 45, 60, 24, 45, 10, 25, 45)
COLOURS = {REJECTED: "#FBE3E0", DOUBTFUL: "#FFF6D6", EDITED: "#E4F3E2"}
NOT_CARRIED_OVER = "not carried over"
# Text: Excel takes no typed "1/2" for a date and no "=" for a formula.
TEXT = {"num_format": "@", "text_wrap": True, "valign": "top"}


def first_rows(sources: list[dict]) -> dict[str, int]:
    """Number of the first row of each source, counted from 1 over all of them."""
    first, number = {}, 1
    for source in sources:
        first[source["source"]] = number
        number += source["rows"] - source["not_sampled"]
    return first


def write_review(
    rows: Path, sources: list[dict], rules: Rules, review: Path, previous: Previous | None = None
) -> dict[str, int]:
    """Write the workbook.

    Args:
        rows: parquet file of the schema `files.ROWS`.
        sources: what ingest.py counted.
        rules: what makes a row unusable.
        review: the workbook to write.
        previous: the decisions of an earlier review.

    Returns:
        How many lines there are, how many are marked, and how many decisions had no row any more.

    Raises:
        ReviewError: there is nothing to review, or more than a sheet can hold.
    """
    first = first_rows(sources)
    items = Items(rows, first, previous)
    flags = Flags(items, rules)
    if not flags:
        raise ReviewError(
            "the sources hold no single question with its answer; texts, longer conversations and "
            "preferences are not reviewed in a workbook"
        )
    if len(flags) > MAX_ROWS:
        raise ReviewError(
            f"there are {len(flags):,} rows to review, but a sheet of Excel holds {MAX_ROWS:,}. "
            "Review fewer sources at a time: leave the others out of corpus.sources meanwhile."
        )
    # constant_memory: a line is written as soon as the next one begins
    options = {"constant_memory": True, "tmpdir": str(review.parent)}
    with xlsxwriter.Workbook(review, options) as book:
        # the same rows make the same file
        book.set_properties({"created": datetime.datetime(2000, 1, 1)})
        sheet = _Sheet(book, len(flags))
        _write_help(book)
        unused = items.previous.unused(items.asked) if items.previous else []
        if unused:
            _write_unused(book, unused)
        origin = book.add_worksheet(ORIGIN)
        keys = book.add_worksheet(ORIGIN_ROWS)
        _write_line(keys, 0, ("row", "key"))
        extraction = Extraction()
        for position, item in enumerate(items):
            sheet.write(item, *flags.of(position, item))
            if item.number is not None:
                extraction.add(item.number, item.row, item.pair)
                key = key_of(item.row, item.pair)
                _write_line(keys, position + 1, (str(item.number), key))
        _write_line(origin, 0, ("format", FORMAT))
        _write_line(origin, 1, ("source", "sha256", "first", "rows", "extraction"))
        for line, source in enumerate(sources, start=2):
            name = source["source"]
            there = source["rows"] - source["not_sampled"]
            cells = (name, source["sha256"], str(first[name]), str(there))
            _write_line(origin, line, (*cells, extraction.of(name)))
        origin.very_hidden()
        keys.very_hidden()
    return {"rows": len(flags), "flagged": sheet.flagged, "not carried over": len(unused)}


class _Sheet:
    """The sheet to edit."""

    def __init__(self, book: xlsxwriter.Workbook, count: int):
        self.flagged = 0
        self._sheet = sheet = book.add_worksheet(SHEET)
        text = book.add_format(TEXT)
        # a colour hides the lines of the grid
        grid = {"border": 1, "border_color": "#D9D9D9"}
        self._formats = {
            gravity: book.add_format(TEXT | grid | {"bg_color": colour})
            for gravity, colour in COLOURS.items()
        } | {None: text}
        head = book.add_format({"bold": True, "bg_color": "#DCE6F1", "border": 1})
        for column, (name, width) in enumerate(zip(COLUMNS, WIDTHS, strict=True)):
            # also for the lines that a person adds
            sheet.set_column(column, column, width, text)
            sheet.write_string(0, column, name, head)
        sheet.freeze_panes(1, 1)
        sheet.autofilter(0, 0, count, len(COLUMNS) - 1)
        decision = COLUMNS.index("decision")
        sheet.data_validation(
            *(1, decision, MAX_ROWS, decision),
            {
                "validate": "list",
                "source": [KEEP, DELETE],
                # apply_review.py says what it does not understand; 删除 is understood
                "error_type": "warning",
            },
        )
        letter = chr(ord("A") + decision)
        sheet.conditional_format(
            *(1, 0, MAX_ROWS, len(COLUMNS) - 1),
            {
                "type": "formula",
                "criteria": f'=OR(${letter}2="{DELETE}",${letter}2="删除")',
                "format": book.add_format({"font_strikeout": True, "font_color": "#8C8C8C"}),
            },
        )
        self._line = 0

    def write(
        self, item: Item, flags: list[str], suggestions: list[str], gravity: str | None
    ) -> None:
        """Write the next line."""
        self._line += 1
        self.flagged += gravity is not None
        style = self._formats[gravity]
        if item.number is not None:
            self._sheet.write_number(self._line, 0, item.number, style)
        row = item.row
        cells = (
            *(row["source"], row["locator"], *item.shown),
            *("\n".join(flags), "\n".join(suggestions), DELETE if item.delete else KEEP, item.note),
            row["original"] if row["reason"] else "",
        )
        for column, text in enumerate(cells, start=1):
            if text:
                self._sheet.write_string(self._line, column, _shortened(cell_text(text)), style)


def _write_help(book: xlsxwriter.Workbook) -> None:
    sheet = book.add_worksheet(HELP)
    sheet.set_column(0, 1, 70, book.add_format(TEXT))
    for line, cells in enumerate((("使用说明", "How to use this workbook"), *LINES)):
        _write_line(sheet, line, cells)


def _write_unused(book: xlsxwriter.Workbook, lines: list[Line]) -> None:
    """Decisions that no row is left for: a person has to see to them."""
    names = ("row", "source", "locator", "question", "answer", "decision", "note")
    sheet = book.add_worksheet(NOT_CARRIED_OVER)
    sheet.set_column(3, 4, 45, book.add_format(TEXT))
    _write_line(sheet, 0, names)
    for number, line in enumerate(lines, start=1):
        _write_line(sheet, number, [line.cells.get(name, "") for name in names])


def _write_line(sheet, line: int, cells) -> None:
    for column, text in enumerate(cells):
        if text:
            sheet.write_string(line, column, _shortened(cell_text(text)))


def _shortened(text: str) -> str:
    # a character outside of the first 65,536 counts as two
    return text if len(text) <= MAX_CELL // 2 else _cut(text)


def _cut(text: str) -> str:
    data = text.encode("utf-16-le")
    if len(data) // 2 <= MAX_CELL:
        return text
    return data[: 2 * (MAX_CELL - 1)].decode("utf-16-le", "ignore") + "…"


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=Path, required=True, help="parquet file from ingest.py")
    parser.add_argument("--counts", type=Path, required=True, help="json file from ingest.py")
    parser.add_argument("--rules", type=json.loads, required=True, help="corpus.clean as JSON")
    parser.add_argument("--review", type=Path, required=True, help="workbook to write")
    parser.add_argument(
        "--previous", type=Path, help="edited review whose edits and decisions are carried over"
    )
    args = parser.parse_args(argv)
    sources = json.loads(args.counts.read_text(encoding="utf-8"))["sources"]
    try:
        rules = Rules.from_config(args.rules)
        previous = None
        if args.previous:
            with open_review(args.previous) as workbook:
                previous = Previous(workbook)
        counts = write_review(args.rows, sources, rules, args.review, previous)
    except (CleanError, SourceError) as error:
        sys.exit(f"review: {error}")
    for name, number in counts.items():
        print(f"{name}: {number:,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
