"""The workbook of the human review: which rows it holds, and how it is read back.

Its first sheet shows one row of the corpus per line. Two hidden ones say what it was made from:
"origin" the files and a digest of what was extracted from each, "origin_rows" the key of every row,
by which decisions are found again after a source has grown.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from entry import SourceError
from files import read_batches
from readers.workbook import CellError, Cells, open_workbook
from readers.workbook import Workbook as Book

FORMAT = "1"
SHEET, HELP, ORIGIN, ORIGIN_ROWS = "review", "help", "origin", "origin_rows"
COLUMNS = (
    *("row", "source", "locator", "question", "answer"),
    *("flags", "suggestion", "decision", "note", "original"),
)
REQUIRED = ("row", "question", "answer", "decision")
KEEP, DELETE = "keep", "delete"
DECISIONS = {"": KEEP, KEEP: KEEP, "保留": KEEP, DELETE: DELETE, "删除": DELETE}
# What Excel can hold: characters of a cell, counted as UTF-16, and rows below the headings.
MAX_CELL = 32_767
MAX_ROWS = 1_048_575

_ESCAPE = re.compile("_x([0-9A-Fa-f]{4})_")
# The programs do not agree on what this escapes.
_OVERLAP = re.compile("_x[0-9A-Fa-f]{4}_x[0-9A-Fa-f]{4}_")
# XML has no place for them.
_UNWRITABLE = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 127, 0xFFFE, 0xFFFF])


class ReviewError(SourceError):
    """A review cannot be written or applied; the text says where, why and what to do."""


def cell_text(text: str) -> str:
    """A text as a cell can hold it: line feeds only, no control characters."""
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_UNWRITABLE)


def canonical(text: str) -> str:
    r"""What is left of a text when all is removed that a spreadsheet program may change by itself.

    >>> canonical(" a\r\nb ") == canonical("a_x000D_\nb") == canonical("a\nb")
    True
    """
    # a program that does not know the escapes escapes them again
    for _ in range(3):
        if "_x" not in text:
            break
        text = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    return cell_text(text).strip()


def numbered(
    rows: Path, first: dict[str, int], columns: list[str] | None = None
) -> Iterator[tuple[list[int | None], pa.RecordBatch]]:
    """The batches of rows.parquet with the number of each row.

    Args:
        rows: parquet file of the schema `files.ROWS`.
        first: number of the first row of each source; further ones count up within the source, so
            that a source that is added to the configuration does not change those of the others.
        columns: those to read, "source" among them.

    Yields:
        numbers, None for rows of sources that `first` does not name, and the batch.
    """
    following = dict(first)
    for batch in read_batches(rows, columns):
        numbers: list[int | None] = []
        for source in batch.column("source").to_pylist():
            number = following.get(source)
            numbers.append(number)
            if number is not None:
                following[source] = number + 1
        yield numbers, batch


def pair_of(row: dict) -> tuple[str, str] | None:
    """Question and answer of a row as the sheet shows them.

    Returns:
        two empty texts for a row that could not be taken apart, None for a row that is no single
        question with its answer, or that no cell can hold: it is not reviewed.
    """
    if row["reason"]:
        return "", ""
    if row["kind"] != "chat":
        return None
    turns = [message for message in row["messages"] if message["role"] != "system"]
    if [turn["role"] for turn in turns] != ["user", "assistant"]:
        return None
    question, answer = (turn["content"] for turn in turns)
    return (question, answer) if _fits(question) and _fits(answer) else None


def _fits(text: str) -> bool:
    """Whether a cell can hold a text so that it comes back as it was."""
    # most texts are so short that counting is not needed
    if len(text) > MAX_CELL // 2 and len(text.encode("utf-16-le")) // 2 > MAX_CELL:
        return False
    return "_x" not in text or not _OVERLAP.search(text)


def with_pair(row: dict, question: str, answer: str) -> dict:
    """A row with another question and answer; one that could not be taken apart becomes whole."""
    system = [message for message in row["messages"] or [] if message["role"] == "system"]
    messages = [
        *system,
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer},
    ]
    return row | {"kind": "chat", "messages": messages, "reason": None, "detail": None}


class Extraction:
    """A digest of the rows of each source that are shown for review."""

    def __init__(self) -> None:
        self._hashes: dict[str, hashlib.blake2b] = {}

    def add(self, number: int, row: dict, pair: tuple[str, str]) -> None:
        """Take in the next row."""
        source = row["source"]
        if source not in self._hashes:
            self._hashes[source] = hashlib.blake2b(digest_size=16)
        parts = (str(number), row["locator"], row["original"], row["reason"] or "", *pair)
        self._hashes[source].update("\x1f".join(parts).encode() + b"\x1e")

    def of(self, source: str) -> str:
        """The digest of a source, "" if none of its rows is shown."""
        return self._hashes[source].hexdigest() if source in self._hashes else ""


@dataclass(frozen=True)
class Origin:
    """What a review says of one source: its content, its rows and what was extracted."""

    source: str
    sha256: str
    first: int
    rows: int
    extraction: str


@dataclass(slots=True)
class Line:
    """One line of the sheet as the person left it.

    Attributes:
        line: its number in the sheet.
        number: of the row of the corpus, None where the cell is empty.
        cells: all that is in the line, by heading.
    """

    line: int
    number: int | None
    question: str
    answer: str
    delete: bool
    note: str
    cells: dict[str, str]

    @property
    def pair(self) -> tuple[str, str]:
        """Question and answer."""
        return self.question, self.answer

    def differs(self, pair: tuple[str, str]) -> bool:
        """Whether the person wrote other texts than these."""
        return any(canonical(a) != canonical(b) for a, b in zip(self.pair, pair, strict=True))


class Workbook:
    """An edited review, open for reading.

    All methods raise ReviewError where it is not what review.py has made and a person may make of
    it, and SourceError where the file is damaged.
    """

    def __init__(self, path: Path, book: Book):
        self.path = path
        self.blank = 0
        self._book = book

    def origin(self) -> list[Origin]:
        """What the review was made from."""
        rows = self._rows(ORIGIN)
        _, version = next(rows, (0, {}))
        if version.get(1) != FORMAT:
            raise ReviewError(
                f"{self.path}: its hidden sheet {ORIGIN!r} has the form {version.get(1)!r}, this "
                f"version reads {FORMAT!r}. Write a new one with `snakemake review`."
            )
        next(rows, None)
        origins = []
        for number, cells in rows:
            try:
                source, sha256, first, count = (cells[column] for column in range(4))
                origins.append(Origin(source, sha256, int(first), int(count), cells.get(4, "")))
            except (KeyError, ValueError) as error:
                raise self._altered(ORIGIN, number) from error
        return origins

    def row_keys(self) -> Iterator[tuple[int, str]]:
        """Number and key (previous.key_of) of each row of the review, in ascending order."""
        rows = self._rows(ORIGIN_ROWS)
        next(rows, None)
        for number, cells in rows:
            try:
                yield int(cells[0]), cells[1]
            except (KeyError, ValueError) as error:
                raise self._altered(ORIGIN_ROWS, number) from error

    def lines(self) -> Iterator[Line]:
        """The lines that hold a row of the corpus or a new one; others are counted in `blank`."""
        rows = self._rows(SHEET)
        _, first = next(rows, (0, {}))
        headings = {column: text.strip().casefold() for column, text in first.items()}
        columns = {name: self._column(headings, name) for name in REQUIRED}
        for number, cells in rows:
            texts = {
                name: self._text(cells.get(column, ""), number, name)
                for name, column in columns.items()
            }
            if not (texts["row"] or texts["question"] or texts["answer"]):
                self.blank += 1
                continue
            named = {
                heading: text
                for column, heading in headings.items()
                if (text := cells.get(column, "").strip())
            }
            yield Line(
                number,
                self._number(texts["row"], number),
                texts["question"],
                texts["answer"],
                self._decision(texts["decision"], number) == DELETE,
                named.get("note", ""),
                named,
            )

    def _rows(self, name: str) -> Iterator[tuple[int, Cells]]:
        for sheet in self._book.sheets:
            if sheet.name == name:
                return self._book.rows(sheet)
        names = ", ".join(sheet.name for sheet in self._book.sheets)
        raise ReviewError(
            f"{self.path}: has no sheet {name!r}, only {names}. Edit the file that "
            "`snakemake review` has written, and keep all of its sheets and their names."
        )

    def _column(self, headings: dict[int, str], name: str) -> int:
        found = [column for column, heading in headings.items() if heading == name]
        if len(found) == 1:
            return found[0]
        problem = f"{len(found)} columns" if found else "no column"
        raise ReviewError(
            f"{self.path}: the sheet {SHEET!r} has {problem} {name!r}; its first filled line reads "
            f"{', '.join(headings.values()) or 'nothing'}. There must be one of each: "
            f"{', '.join(REQUIRED)}."
        )

    def _text(self, cell: str, line: int, name: str) -> str:
        if isinstance(cell, CellError):
            raise ReviewError(
                f"{self.path}: {SHEET} line {line}, column {name!r}: shows an error ({cell}). "
                "Type the text in its place."
            )
        return cell_text(cell).strip()

    def _number(self, text: str, line: int) -> int | None:
        if not text:
            return None
        if text.isascii() and text.isdigit():
            return int(text)
        raise ReviewError(
            f"{self.path}: {SHEET} line {line}, column 'row': {text!r} is no row number. Put the "
            "number back, or empty the cell if the line is a new question."
        )

    def _decision(self, text: str, line: int) -> str:
        if (decision := DECISIONS.get(text.casefold())) is None:
            raise ReviewError(
                f"{self.path}: {SHEET} line {line}, column 'decision': {text!r} is neither "
                f"{KEEP} (保留) nor {DELETE} (删除). Choose one of them."
            )
        return decision

    def _altered(self, sheet: str, line: int) -> ReviewError:
        return ReviewError(
            f"{self.path}: line {line} of its hidden sheet {sheet!r} was altered. Copy that sheet "
            "from the workbook that `snakemake review` has written."
        )


@contextlib.contextmanager
def open_review(path: Path) -> Iterator[Workbook]:
    """Open an edited review.

    Raises:
        SourceError: it is no workbook, is damaged or has a password.
    """
    with open_workbook(path) as book:
        yield Workbook(path, book)
