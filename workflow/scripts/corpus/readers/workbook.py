"""Excel workbooks as cells that read as a person sees them.

.xlsx is parsed as a stream (ECMA-376 part 1, SpreadsheetML): the ready-made readers give values
without the formats that make 0.25 a "25%", drop error values, and hold a whole sheet, up to its
last corner, in memory. Here only the shared texts are held. .xls is left to calamine: its numbers
are shown without their formats and its errors are empty cells.
"""

import contextlib
import datetime
import functools
import math
import pickle
import posixpath
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from entry import SourceError
from lxml import etree

from .number_formats import BUILT_IN, Show, compile_format, general
from .office import damage_reported, forget, is_ole, open_archive, parent_name, parse_part

# Of Excel itself; positions beyond are damage.
MAX_ROWS, MAX_COLUMNS = 1_048_576, 16_384
# Held in memory, where they take up to twice as much.
MAX_SHARED_TEXTS = 2**30
# More than any .xls needs; a damaged one may send its reader in circles.
XLS_SECONDS = 300

WORKBOOK_TYPE, SHEET_TYPE = "/officeDocument", "/worksheet"
MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s+ref\s*=\s*["\']([A-Z$]+)(\d+):([A-Z$]+)(\d+)["\']')
ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
KIND = "an Excel workbook"

Cells = dict[int, str]
Range = tuple[int, int, int, int]  # first row, first column, last row, last column


class CellError(str):
    """What a cell shows that holds an error ("#N/A")."""


NOT_CALCULATED = CellError("formula without a value: open the workbook in Excel and save it")


@dataclass(frozen=True, slots=True)
class Sheet:
    """One worksheet; `part` is where the workbook keeps it."""

    name: str
    hidden: bool
    part: str


class Workbook(Protocol):
    """Shape of what `open_workbook` gives; rows count from 1, columns from 0."""

    sheets: list[Sheet]

    def rows(self, sheet: Sheet) -> Iterator[tuple[int, Cells]]:
        """Rows with at least one filled cell."""

    def merged(self, sheet: Sheet) -> list[Range]:
        """Merged cells."""

    def unformatted(self) -> list[str]:
        """Number formats that `rows` met and could not apply in full."""


@contextlib.contextmanager
def open_workbook(path: Path) -> Iterator[Workbook]:
    """Open a workbook by what it is, whatever its suffix says.

    Raises:
        SourceError: it is none, is damaged or has a password.
    """
    if path.suffix.lower() != ".xlsx" and is_ole(path):
        yield _Xls(path)
        return
    with open_archive(path, KIND) as archive:
        yield _Xlsx(path, archive)


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


def column_index(letters: str) -> int:
    """Column, counted from 0, of its letters (A-Z only).

    >>> column_index("A"), column_index("AA")
    (0, 26)
    """
    index = 0
    for letter in letters:
        index = index * 26 + ord(letter) - ord("A") + 1
    return index - 1


class _Xlsx:
    def __init__(self, path: Path, archive: zipfile.ZipFile):
        self.path, self.archive = path, archive
        # some programs write other capitals or a backslash than the relations say
        self._names = {n.replace("\\", "/").lower(): n for n in archive.namelist()}
        book = next(
            (part for kind, part in self._relations("").values() if kind.endswith(WORKBOOK_TYPE)),
            "xl/workbook.xml",
        )
        if book.lower() not in self._names:
            raise SourceError(
                f"{path}: holds no {book}, so it is not {KIND}. Save it as .xlsx with Excel."
            )
        if book.endswith(".bin"):
            raise SourceError(f"{path}: is a binary workbook (.xlsb). Save it as .xlsx with Excel.")
        relations = self._relations(book)
        self._date1904 = False
        self.sheets = []
        for tag, element in self._elements(book, "sheet", "workbookPr"):
            if tag == "workbookPr":
                self._date1904 = element.get("date1904") in ("1", "true")
                continue
            link = next((v for k, v in element.attrib.items() if k.endswith("}id")), "")
            kind, part = relations.get(link, ("", ""))
            if kind.endswith(SHEET_TYPE):
                hidden = element.get("state", "visible") != "visible"
                self.sheets.append(Sheet(element.get("name", ""), hidden, part))
        kinds = {kind.rpartition("/")[2]: part for kind, part in relations.values()}
        self._texts_part, self._styles_part = kinds.get("sharedStrings"), kinds.get("styles")
        # as bytes: a text that has once been written out keeps its UTF-8 form beside its own
        self._texts: list[bytes] | None = None
        self._formats: list[str] | None = None
        self._shows: dict[str | None, Show | None] = {None: None}
        self._columns: dict[str, int] = {}
        self._unformatted: set[str] = set()

    def _part(self, name: str) -> str:
        if name.lower() not in self._names:
            raise SourceError(
                f"{self.path}: its part {name} is missing. Open it in Excel and save it again."
            )
        return self._names[name.lower()]

    def _elements(self, part: str, *names: str) -> Iterator[tuple[str, etree._Element]]:
        tags = [f"{{*}}{name}" for name in names]
        for _, element in parse_part(self.path, self.archive, self._part(part), tags):
            yield element.tag.rpartition("}")[2], element
            forget(element)

    def _relations(self, part: str) -> dict[str, tuple[str, str]]:
        """Type and target of the relations of a part by their id."""
        folder, name = posixpath.split(part)
        relations = posixpath.join(folder, "_rels", f"{name}.rels")
        if relations.lower() not in self._names:
            return {}
        return {
            element.get("Id", ""): (
                element.get("Type", ""),
                posixpath.normpath(
                    posixpath.join("/", folder, element.get("Target", "").replace("\\", "/"))
                ).lstrip("/"),
            )
            for _, element in self._elements(relations, "Relationship")
            if element.get("TargetMode") != "External"
        }

    def merged(self, sheet: Sheet) -> list[Range]:
        part = self._part(sheet.part)
        found: list[Range] = []
        # They stand behind all rows. No text can look like them: a "<" in it is written otherwise.
        with damage_reported(self.path, part), self.archive.open(part) as stream:
            rest = b""
            while chunk := stream.read(2**20):
                end = 0
                for match in MERGED.finditer(rest := rest + chunk):
                    left, top, right, bottom = match.groups()
                    columns = (column_index(c.replace(b"$", b"").decode()) for c in (left, right))
                    first, last = columns
                    found.append((int(top), first, int(bottom), last))
                    end = match.end()
                rest = rest[end:][-200:]
        return found

    def rows(self, sheet: Sheet) -> Iterator[tuple[int, Cells]]:
        if self._texts is None:
            self._texts, self._formats = self._shared_texts(), self._number_formats()
        number = 0
        for _, row in self._elements(sheet.part, "row"):
            place = row.get("r")
            number = int(place) if place and place.isdecimal() else number + 1
            if not 0 < number <= MAX_ROWS:
                raise self._damaged(sheet, f"row {number}")
            if cells := self._cells(sheet, row):
                yield number, cells

    def unformatted(self) -> list[str]:
        return sorted(self._unformatted)

    def _cells(self, sheet: Sheet, row: etree._Element) -> Cells:
        cells: Cells = {}
        column = -1
        for cell in row:
            column += 1
            if place := cell.get("r"):
                letters = place.rstrip("0123456789")
                column = self._columns.get(letters, -1)
                if column < 0:
                    if not re.fullmatch("[A-Z]{1,3}", letters):
                        raise self._damaged(sheet, f"cell {place}")
                    column = self._columns[letters] = column_index(letters)
            if column >= MAX_COLUMNS:
                raise self._damaged(sheet, f"cell {place}")
            text = ""
            for child in cell:
                if child.tag.endswith("}v"):
                    if child.text or cell.get("t") == "str":  # a formula may yield an empty text
                        text = self._shown(sheet, cell, child.text or "")
                elif child.tag.endswith("}is"):
                    text = _rich_text(child)
                elif child.tag.endswith("}f"):
                    # replaced by the value, which only a program that calculates can write
                    text = NOT_CALCULATED
            if text:
                cells[column] = text
        return cells

    def _shown(self, sheet: Sheet, cell: etree._Element, value: str) -> str:
        match cell.get("t", "n"):
            case "s":
                if not value.isdecimal() or int(value) >= len(self._texts):
                    raise self._damaged(sheet, f"cell {cell.get('r')}")
                return self._texts[int(value)].decode()
            case "n":
                return self._number(cell.get("s"), value)
            case "b":
                return "TRUE" if value.strip() in ("1", "true") else "FALSE"
            case "e":
                return CellError(value)
            case "d":
                return value.replace("T", " ").removesuffix(" 00:00:00")
        return _unescaped(value)

    def _number(self, style: str | None, value: str) -> str:
        if style in self._shows:
            show = self._shows[style]
        else:
            show = self._shows[style] = self._show(style)
        if show is None and value.isdecimal() and len(value) < 16:
            return value
        try:
            number = float(value)
        except ValueError:
            return value
        return (show or general)(number) if math.isfinite(number) else value

    def _show(self, style: str) -> Show | None:
        index = int(style) if style.isdecimal() else 0
        code = self._formats[index] if index < len(self._formats) else "General"
        if code in ("General", "@"):
            return None
        show, exact = compile_format(code, self._date1904)
        if not exact:
            self._unformatted.add(code)
        return functools.lru_cache(2**14)(show)  # columns of dates and scores repeat themselves

    def _shared_texts(self) -> list[bytes]:
        if self._texts_part is None:
            return []
        size = self.archive.getinfo(self._part(self._texts_part)).file_size
        if size > MAX_SHARED_TEXTS:
            raise SourceError(
                f"{self.path}: its texts take {size:,} bytes, more than the {MAX_SHARED_TEXTS:,} "
                "that are held in memory. Save its sheets as .csv, which is read row by row."
            )
        return [
            _rich_text(element).encode() for _, element in self._elements(self._texts_part, "si")
        ]

    def _number_formats(self) -> list[str]:
        """Code of the number format of each cell style."""
        if self._styles_part is None:
            return []
        codes: dict[str | None, str] = {str(number): code for number, code in BUILT_IN.items()}
        styles = []
        for tag, element in self._elements(self._styles_part, "numFmt", "xf"):
            parent = parent_name(element)
            if tag == "numFmt" and parent == "numFmts":
                codes[element.get("numFmtId")] = element.get("formatCode", "")
            elif tag == "xf" and parent == "cellXfs":
                styles.append(codes.get(element.get("numFmtId"), "General"))
        return styles

    def _damaged(self, sheet: Sheet, place: str) -> SourceError:
        return SourceError(
            f"{self.path}: the sheet {sheet.name!r} is damaged at {place}. "
            "Open it in Excel and save it again."
        )


def _rich_text(element: etree._Element) -> str:
    """Text of <si> or <is>: plain or in runs, without the phonetic guides of Japanese."""
    texts = []
    for child in element:
        if child.tag.endswith("}t"):
            texts.append(child.text or "")
        elif child.tag.endswith("}r"):
            texts += [part.text or "" for part in child if part.tag.endswith("}t")]
    return _unescaped("".join(texts))


def _unescaped(text: str) -> str:
    """Characters that XML cannot hold, written as _x000D_; a carriage return only breaks lines."""
    if "_x" in text:
        text = ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\r\n", "\n") if "\r" in text else text


class _Xls:
    def __init__(self, path: Path):
        self._worksheets = _xls_worksheets(path)
        self.sheets = [
            Sheet(name, hidden, str(place))
            for place, (name, hidden, *_) in enumerate(self._worksheets)
        ]
        self._numbers = False

    def merged(self, sheet: Sheet) -> list[Range]:
        ranges = self._worksheets[int(sheet.part)][2]
        return [(top + 1, left, bottom + 1, right) for (top, left), (bottom, right) in ranges]

    def rows(self, sheet: Sheet) -> Iterator[tuple[int, Cells]]:
        *_, start, rows = self._worksheets[int(sheet.part)]
        top, left = start or (0, 0)
        for number, row in enumerate(rows, start=top + 1):
            shown = ((column, self._shown(cell)) for column, cell in enumerate(row, start=left))
            if filled := {column: text for column, text in shown if text}:
                yield number, filled

    def unformatted(self) -> list[str]:
        return ["those of .xls files"] if self._numbers else []

    def _shown(self, cell: object) -> str:
        match cell:
            case str():
                return cell.replace("\r\n", "\n")
            case bool():
                return str(cell).upper()
            case int() | float():
                if not math.isfinite(cell):
                    return str(cell)
                self._numbers |= cell != int(cell)
                return general(cell)
            case datetime.timedelta():
                minutes, seconds = divmod(round(cell.total_seconds()), 60)
                return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
            case datetime.datetime():
                return cell.isoformat(" ", "seconds").removesuffix(" 00:00:00")
        return cell.isoformat()


def _xls_worksheets(path: Path) -> list[tuple]:
    script = Path(__file__).with_name("xls_values.py")
    command = [sys.executable, str(script), str(path.absolute())]
    try:
        done = subprocess.run(command, capture_output=True, timeout=XLS_SECONDS, check=True)
        result = pickle.loads(done.stdout)
    except subprocess.TimeoutExpired:
        result = f"reading it took more than {XLS_SECONDS} seconds"
    except subprocess.CalledProcessError:
        result = "its parts contradict each other"
    if isinstance(result, str):
        raise SourceError(
            f"{path}: is damaged or not {KIND} ({result}). Open it in Excel and save it again as "
            ".xlsx."
        )
    return result
