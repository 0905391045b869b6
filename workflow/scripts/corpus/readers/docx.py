"""Word documents: pairs parted by arrows or by patterns, multiple choice, and tables.

Format: ECMA-376 part 1, WordprocessingML (17.3.1 paragraphs, 17.3.3 run content, 17.4 tables).
"""

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from entry import Entry, SourceError

from .mapping import mapped_fields
from .numbered import Collector, NotRead, Paragraph, lines_of, parse_choice
from .numbering import Numbering
from .office import forget, open_archive, parent_name, parse_part
from .pairs import PairFinder

# Headings by which a table is known to hold rows where no mapping says which columns it has; a row
# that the shapes then do not recognise is reported by them.
KNOWN_HEADINGS = frozenset(
    (
        *("question", "query", "prompt", "instruction", "input", "text", "content"),
        *("answer", "response", "output", "completion", "chosen", "rejected", "options"),
        *("问", "问题", "题目", "题干", "试题", "提问", "正文", "内容", "选项"),
        *("答", "答案", "回答", "答复", "正确答案", "参考答案", "标准答案", "正确选项"),
    )
)
# Of Word itself; more is damage.
MAX_COLUMNS = 63

# Characters of Wingdings (private use area) that stand for an arrow to the right.
WINGDINGS_ARROWS = {"F0E0", "F0E8", "F0F0"}

NAMESPACES = (
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "http://purl.oclc.org/ooxml/wordprocessingml/main",  # the "strict" form of the standard
)
TEXT_TAGS = ("t", "tab", "br", "cr", "noBreakHyphen", "sym")
CELL_TAGS = ("gridSpan", "gridBefore", "vMerge")
LIST_TAGS = ("ilvl", "numId")
MATH_TEXT = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
PICTURE = "{http://schemas.openxmlformats.org/drawingml/2006/main}blip"
# What is there twice: for programs that do not know the first form, at the place that a tracked
# change moved it from, and as a phonetic guide above its characters.
REPEATED = (
    "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",
    *(f"{{{space}}}{name}" for space in NAMESPACES for name in ("moveFrom", "rt")),
)


@dataclass(slots=True)
class _Cell:
    column: int
    paragraphs: list[Paragraph] = field(default_factory=list)
    continues: bool = False  # the cell above, merged with this one

    @property
    def text(self) -> str:
        return "\n".join(paragraph.text for paragraph in self.paragraphs).strip()


@dataclass(slots=True)
class _Row:
    """A row of a table; `table` and `number` count from 1."""

    table: int
    number: int
    cells: list[_Cell] = field(default_factory=list)
    width: int = 0


class DocxReader:
    """Pairs, multiple choice and rows of tables of a Word document, in its order.

    Options of the source: `patterns` (pairs.py) and the mapping.

    Paragraphs: one that matches a pattern or holds an arrow is a pair; questions with options are
    read as in numbered.py, also where Word has numbered them by itself; each other one is reported
    as no_delimiter. Locators count all paragraphs, also blank ones and those in tables. Headers,
    footers, notes and comments are not read.

    Tables: the first row holds the headings, unless it is a single cell over several columns, a
    title. A table one of whose headings the mapping names (without a mapping: is in
    KNOWN_HEADINGS) is read row by row as heading -> text; a cell merged over several rows fills
    all of them. A table of a single column is a frame, its paragraphs are read like those outside.
    Of any other table, a row with a cell that is a pair gives one entry per filled cell; each
    other row, its first one included, is reported as no_delimiter. Text of a table within a cell
    belongs to the cell.
    """

    def __init__(self, path: Path, options: dict):
        self.path = path
        self.blank = 0
        self.facts: dict[str, str | int] = {}
        self._finder = PairFinder(options)
        self._options = options.get("options")
        mapped = {name.strip() for _, name in mapped_fields(options)}
        self._headings = mapped or KNOWN_HEADINGS

    def __iter__(self) -> Iterator[Entry]:
        collector = Collector()
        table = _Table(self._headings)
        for item in self._items():
            if isinstance(item, _Row):
                if item.number == 1:
                    table = _Table(self._headings)
                    self._count("tables")
                if not table.is_frame(item):
                    # nothing that stands before a table belongs to what stands behind it
                    yield from self._collected(collector.end())
                    yield from self._row(table, item)
                    continue
            paragraphs = [item] if isinstance(item, Paragraph) else item.cells[0].paragraphs
            for paragraph in paragraphs:
                text = paragraph.text
                if not text.strip():
                    self.blank += 1
                elif self._finder.matches_pattern(text):
                    yield from self._collected(collector.end())
                    yield from self._pairs(f"paragraph {paragraph.number}", text)
                else:
                    is_pair = self._finder.find(text) is not None
                    yield from self._collected(collector.add(paragraph, is_pair))
        yield from self._collected(collector.end())

    # ------------------------------------------------------------------------------ paragraphs

    def _count(self, what: str) -> None:
        self.facts[what] = self.facts.get(what, 0) + 1

    def _collected(self, found: Iterator[tuple[list[Paragraph], bool]]) -> Iterator[Entry]:
        for paragraphs, is_choice in found:
            if is_choice:
                self._count("blocks of multiple choice")
                yield self._choice(paragraphs)
            else:
                yield from self._pairs(f"paragraph {paragraphs[0].number}", paragraphs[0].text)

    def _pairs(self, locator: str, text: str) -> Iterator[Entry]:
        lines = lines_of(text)
        if len(lines) > 1 and sum(self._finder.find(line) is not None for line in lines) > 1:
            # several pairs parted by line breaks (Shift+Enter) in one paragraph
            for number, line in enumerate(lines, start=1):
                yield self._pair(f"{locator}, line {number}", line)
        else:
            yield self._pair(locator, text)

    def _pair(self, locator: str, text: str) -> Entry:
        text = text.strip()
        fields = self._finder.find(text)
        if fields is None:
            return Entry(locator, text, reason="no_delimiter", detail=self._finder.expected)
        return Entry(locator, text, fields)

    def _choice(self, paragraphs: list[Paragraph]) -> Entry:
        first, last = paragraphs[0].number, paragraphs[-1].number
        locator = f"paragraph {first}" if first == last else f"paragraphs {first}-{last}"
        original = "\n".join(paragraph.shown for paragraph in paragraphs)
        try:
            question, options, answer, explanation = parse_choice(lines_of(original))
        except NotRead as error:
            return Entry(locator, original, reason="malformed_row", detail=str(error))
        fields = {self._finder.question: question, **self._named(options)}
        fields[self._finder.answer] = answer
        if explanation:
            fields["explanation"] = explanation
        return Entry(locator, original, fields)

    def _named(self, options: list[str]) -> dict:
        if isinstance(self._options, list) and len(self._options) >= len(options):
            return dict(zip(self._options, options + [""] * MAX_COLUMNS, strict=False))
        return {self._options if isinstance(self._options, str) else "options": options}

    # ---------------------------------------------------------------------------------- tables

    def _row(self, table: "_Table", row: _Row) -> Iterator[Entry]:
        cells = {cell.column: cell.text for cell in row.cells if cell.text}
        locator = f"table {row.table}, row {row.number}"
        if not cells:
            self.blank += 1
        elif table.take_headings(cells, row):
            pass
        elif table.names:
            named = table.named(cells, row)
            yield Entry(locator, orjson.dumps(named).decode(), named)
        elif any(self._finder.find(text) for text in cells.values()):
            for place, text in enumerate(cells.values(), start=1):
                yield from self._pairs(f"{locator}, cell {place}", text)
        else:
            text = " | ".join(cells.values())
            yield Entry(locator, text, reason="no_delimiter", detail=table.problem())

    # ----------------------------------------------------------------------------------- file

    def _items(self) -> Iterator[Paragraph | _Row]:
        with open_archive(self.path, "a Word document") as archive:
            yield from self._parsed(archive, self._main_part(archive))

    def _main_part(self, archive: zipfile.ZipFile) -> str:
        names = set(archive.namelist())
        # Word writes document.xml, some of its online versions document2.xml and the like
        candidates = sorted(name for name in names if re.fullmatch(r"word/document\d*\.xml", name))
        if not candidates:
            raise SourceError(
                f"{self.path}: holds no word/document.xml, so it is not a Word document. "
                "Save it as .docx with Word or LibreOffice."
            )
        return candidates[0]

    def _parsed(self, archive: zipfile.ZipFile, part: str) -> Iterator[Paragraph | _Row]:
        """Paragraphs and rows of tables in the order of their ends, in constant memory."""
        names = ("p", "tbl", "tr", "tc", *TEXT_TAGS, *CELL_TAGS, *LIST_TAGS)
        tags = [f"{{{space}}}{name}" for space in NAMESPACES for name in names]
        tags += [*REPEATED, MATH_TEXT, PICTURE]
        numbering = Numbering(self.path, archive)
        open_paragraphs: list[list[str]] = []
        lists: list[dict[str, str]] = []  # of the open paragraphs: list and level
        paragraphs = tables = depth = repeated = 0
        row = _Row(0, 0)
        for event, element in parse_part(self.path, archive, part, tags, starts=True):
            if element.tag in REPEATED:
                repeated += 1 if event == "start" else -1
                continue
            name = element.tag.rpartition("}")[2]
            if event == "start":
                if name == "p":
                    open_paragraphs.append([])
                    lists.append({})
                elif repeated:
                    continue
                elif name == "tbl":
                    depth += 1
                    if depth == 1:
                        tables += 1
                        row = _Row(tables, 0)
                elif depth == 1 and name == "tr":
                    row = _Row(tables, row.number + 1)
                elif depth == 1 and name == "tc":
                    row.cells.append(_Cell(row.width))
                    row.width += 1
            elif name == "p":
                text = "".join(open_paragraphs.pop())
                place = lists.pop()
                if not repeated:
                    paragraphs += 1
                    paragraph = Paragraph(paragraphs, text)
                    if place and text.strip():
                        level = place.get("ilvl", "0")
                        paragraph.label = numbering.next(place.get("numId", ""), level)
                    if depth and row.cells:
                        row.cells[-1].paragraphs.append(paragraph)
                    else:
                        yield paragraph
                # a paragraph in a text box lies inside another one, whose elements are still needed
                if not open_paragraphs:
                    forget(element)
            elif repeated:
                continue
            elif name == "tbl":
                depth -= 1
            elif name == "tr":
                if depth == 1:
                    yield row
                    row = _Row(tables, row.number)
                if not open_paragraphs:
                    forget(element)
            elif name in CELL_TAGS:
                if depth == 1:
                    _note(name, element, row)
            elif name in LIST_TAGS:
                if lists and parent_name(element) == "numPr":
                    lists[-1].setdefault(name, _value(element))  # the next one is a former
            elif element.tag == PICTURE:
                self._count("pictures left out")
            elif name != "tc" and open_paragraphs:
                open_paragraphs[-1].append(_run_content(name, element))
                if element.tag == MATH_TEXT:
                    self._count("parts of formulas read as plain text")


class _Table:
    """What the first rows of a table say about the others."""

    def __init__(self, known: set[str] | frozenset[str]):
        self._known = known
        self._headings: dict[int, str] | None = None
        self._above: dict[int, str] = {}
        self._is_frame: bool | None = None
        self.names: dict[int, str] = {}  # of the columns, empty where they are not known

    def is_frame(self, row: _Row) -> bool:
        """Whether the table has a single column without a known heading."""
        if self._is_frame is None:
            alone = row.width == 1 and len(row.cells) == 1
            self._is_frame = alone and not self._is_known(row.cells[0].text)
        return self._is_frame and len(row.cells) == 1

    def take_headings(self, cells: dict[int, str], row: _Row) -> bool:
        """Whether this row holds the headings of a table that is read by them."""
        if self._headings is not None or (row.width > 1 and len(row.cells) == 1):
            return False
        self._headings = cells
        if any(self._is_known(text) for text in cells.values()):
            for column, text in cells.items():
                repeated = text in self.names.values()
                self.names[column] = f"{text} (column {column + 1})" if repeated else text
        return bool(self.names)

    def named(self, cells: dict[int, str], row: _Row) -> dict[str, str]:
        """Cells by heading, with what is merged into them from above."""
        for cell in row.cells:
            if cell.continues and cell.column in self._above:
                cells[cell.column] = self._above[cell.column]
        self._above = cells
        fields = {name: cells.get(column, "") for column, name in self.names.items()}
        for column, text in sorted(cells.items()):
            if column not in self.names:
                fields[f"column {column + 1}"] = text
        return fields

    def problem(self) -> str:
        """Why the rows of a table are not read."""
        if self._headings is None:
            return "the title of a table"
        headings = ", ".join(self._headings.values())
        return f"in a table whose headings name no known column ({headings[:200]})"

    def _is_known(self, text: str) -> bool:
        return text in self._known or text.casefold() in self._known


def _value(element) -> str:
    return next((v for k, v in element.attrib.items() if k.endswith("}val")), "")


def _note(name: str, element, row: _Row) -> None:
    """Keep what a property of a cell, or of a row, says about the columns."""
    value = _value(element)
    if name == "vMerge":
        if row.cells:
            row.cells[-1].continues = value != "restart"
        return
    count = min(int(value), MAX_COLUMNS) if value.isdecimal() else 1
    if name == "gridBefore":
        row.width += count
    elif row.cells and count > 1:
        row.width = row.cells[-1].column + count


def _run_content(name: str, element) -> str:
    match name:
        case "t":
            return element.text or ""
        case "tab" if parent_name(element) == "r":  # elsewhere: a tab stop
            return "\t"
        case "br" | "cr":
            return "\n"
        case "noBreakHyphen":
            return "-"
        case "sym":
            code = next((v for k, v in element.attrib.items() if k.endswith("}char")), "")
            return "→" if code.upper() in WINGDINGS_ARROWS else _character(code)
    return ""


def _character(code: str) -> str:
    try:
        character = chr(int(code, 16))
    except (ValueError, OverflowError):
        return ""
    return "" if "\ud800" <= character <= "\udfff" else character  # no characters of their own
