"""The rejected rows as JSON lines, and as a table that a spreadsheet opens."""

import csv
from pathlib import Path

import orjson

COLUMNS = ("source", "locator", "reason", "detail", "original")
# Excel refuses a file with a longer cell.
MOST_CHARACTERS = 32_767
CUT = "… [cut: the whole text is in rejected.jsonl]"
# A cell that begins so is taken for a formula; one from a stranger's file could do anything.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cell(text: str) -> str:
    """A text as a spreadsheet shows it and does not execute it.

    >>> cell("=1+1")
    "'=1+1"
    """
    if text.startswith(_FORMULA):
        text = "'" + text
    # Excel counts characters beyond the basic plane as two
    if len(text) > MOST_CHARACTERS // 2 and len(text.encode("utf-16-le")) > 2 * MOST_CHARACTERS:
        units = text.encode("utf-16-le")[: 2 * (MOST_CHARACTERS - len(CUT))]
        text = units.decode("utf-16-le", "ignore") + CUT
    return text.replace("\0", "")


class RejectedWriter:
    """Writes rejected rows to both files."""

    def __init__(self, lines: Path, table: Path):
        """Create the files.

        Args:
            lines: JSON lines.
            table: CSV in UTF-8, marked as such, for Excel takes it for something else otherwise.
        """
        self._lines = lines.open("wb", buffering=2**20)
        self._table = table.open("w", encoding="utf-8-sig", newline="", buffering=2**20)
        self._rows = csv.writer(self._table)
        self._rows.writerow(COLUMNS)

    def write(self, row: dict[str, str]) -> None:
        """Add a row with the fields of COLUMNS."""
        self._lines.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        self._rows.writerow([cell(row[name] or "") for name in COLUMNS])

    def __enter__(self) -> "RejectedWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self._lines.close()
        self._table.close()
