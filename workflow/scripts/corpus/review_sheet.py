"""The workbook of the human review: which rows it holds, and how it is read back.

Its first sheet shows one row of the corpus per line. Two hidden ones say what it was made from:
"origin" the files and a digest of what was extracted from each, "origin_rows" the key of every row,
by which decisions are found again after a source has grown.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import python_calamine as calamine
from files import read_batches
from readers.entry import SourceError
from readers.office import open_archive

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


class ReviewError(Exception):
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
    """An edited review."""

    def __init__(self, path: Path):
        """Open it.

        Raises:
            ReviewError: no workbook, or none that review.py has made.
        """
        self.path = path
        self.blank = 0
        try:
            open_archive(path, "an Excel workbook").close()
            self._book = calamine.CalamineWorkbook.from_path(str(path))
        except SourceError as error:
            raise ReviewError(str(error)) from error
        except (calamine.CalamineError, OSError) as error:
            raise ReviewError(
                f"{path}: is damaged or not an Excel workbook ({error}). Open it and save it "
                "again as .xlsx."
            ) from error

    def origin(self) -> list[Origin]:
        """What the review was made from.

        Raises:
            ReviewError: the hidden sheet is missing or of another version.
        """
        rows = self._rows(ORIGIN)
        _, version = next(rows, [None, None])[:2]
        if _plain(version) != FORMAT:
            raise ReviewError(
                f"{self.path}: its hidden sheet {ORIGIN!r} has the form {_plain(version)!r}, this "
                f"version reads {FORMAT!r}. Run `snakemake review` again and carry the edits over."
            )
        next(rows, None)
        origins = []
        for cells in rows:
            source, sha256, first, count, extraction = map(_plain, cells[:5])
            origins.append(Origin(source, sha256, int(first), int(count), extraction))
        return origins

    def row_keys(self) -> Iterator[tuple[int, str]]:
        """Number and key (review_previous.key_of) of each row of the review, in ascending order."""
        rows = self._rows(ORIGIN_ROWS)
        next(rows, None)
        for cells in rows:
            yield int(_plain(cells[0])), _plain(cells[1])

    def lines(self) -> Iterator[Line]:
        """The lines that hold a row of the corpus or a new one; others are counted in `blank`.

        Raises:
            ReviewError: a column is missing, or a cell holds what it must not.
        """
        rows = enumerate(self._rows(SHEET), start=1)
        filled = (cells for _, cells in rows if any(cell != "" for cell in cells))
        headings = [_plain(cell).strip().casefold() for cell in next(filled, [])]
        columns = {name: self._column(headings, name) for name in REQUIRED}
        for line, cells in rows:
            texts = {name: self._text(cells[index], line, name) for name, index in columns.items()}
            if not (texts["row"] or texts["question"] or texts["answer"]):
                self.blank += 1
                continue
            named = {
                heading: text
                for heading, cell in zip(headings, cells, strict=True)
                if heading and (text := _plain(cell).strip())
            }
            yield Line(
                line,
                self._number(texts["row"], line),
                texts["question"],
                texts["answer"],
                self._decision(texts["decision"], line) == DELETE,
                named.get("note", ""),
                named,
            )

    def _rows(self, sheet: str) -> Iterator[list]:
        try:
            return self._book.get_sheet_by_name(sheet).iter_rows()
        except calamine.WorksheetNotFound:
            pass
        except calamine.CalamineError as error:
            raise ReviewError(
                f"{self.path}: its sheet {sheet!r} is damaged ({error}). Open the file and save "
                "it again as .xlsx."
            ) from error
        names = ", ".join(self._book.sheet_names)
        raise ReviewError(
            f"{self.path}: has no sheet {sheet!r}, only {names}. Edit the file that "
            "`snakemake review` has written, and keep all of its sheets and their names."
        )

    def _column(self, headings: list[str], name: str) -> int:
        count = headings.count(name)
        if count == 1:
            return headings.index(name)
        found = ", ".join(heading for heading in headings if heading) or "nothing"
        raise ReviewError(
            f"{self.path}: the sheet {SHEET!r} has {count or 'no'} column"
            f"{'s' if count > 1 else ''} {name!r}; its first filled line reads {found}. "
            f"There must be one of each: {', '.join(REQUIRED)}."
        )

    def _text(self, cell: object, line: int, name: str) -> str:
        if not isinstance(cell, str | int | float) or isinstance(cell, bool):
            raise ReviewError(
                f"{self.path}: {SHEET} line {line}, column {name!r}: holds a date, a time or a "
                "truth value, whose form on the screen cannot be known. Make it a text cell and "
                "type it again."
            )
        return cell_text(_plain(cell)).strip()

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


def _plain(cell: object) -> str:
    if isinstance(cell, float):
        # Excel keeps every number as a double and shows at most 15 digits of it
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else f"{cell:.15g}"
    return "" if cell is None else str(cell)
