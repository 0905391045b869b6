"""Word documents: one paragraph per pair, the question and the answer parted by an arrow.

Format: ECMA-376 part 1, WordprocessingML (17.3.1 paragraphs, 17.3.3 run content).
"""

import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from lxml import etree

from .office import open_archive
from .row import Row, SourceError

# "->" first: "→" also occurs inside answers ("广州→武汉") of documents that part pairs by "->".
# Word turns a typed "-->" into an arrow and may turn the hyphen into a dash.
ARROWS = (re.compile(r"[-‐‑–—－]+\s?[>＞]"), re.compile("[→⟶➔➜]"))
# Belongs to the delimiter, not to the question; 「？」 is part of the question.
COLON = re.compile(r"\s*[：:]?\s*$")

# Characters of Wingdings (private use area) that stand for an arrow to the right.
WINGDINGS_ARROWS = {"F0E0", "F0E8", "F0F0"}

NAMESPACES = (
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "http://purl.oclc.org/ooxml/wordprocessingml/main",  # the "strict" form of the standard
)
# What damage shows as: in the XML, in the packed data, and in the positions noted in the archive.
DAMAGE = (
    etree.XMLSyntaxError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,
)
# The same content once more, for programs that do not know the first form.
FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"


def split_pair(text: str) -> tuple[str, str] | None:
    """Part "question DELIMITER answer", or None where there is no delimiter.

    >>> split_pair("天安门在哪里？->北京")
    ('天安门在哪里？', '北京')
    >>> split_pair("安徽的省会：->合肥")
    ('安徽的省会', '合肥')
    """
    for arrow in ARROWS:
        if found := arrow.search(text):
            return COLON.sub("", text[: found.start()]).strip(), text[found.end() :].strip()
    return None


class DocxReader:
    """Pairs of a Word document, paragraph by paragraph (blank ones count as paragraphs too)."""

    def __init__(self, path: Path, options: dict):
        self.path = path
        self.blank = 0

    def __iter__(self) -> Iterator[Row]:
        for number, text in enumerate(self._paragraphs(), start=1):
            if text.strip():
                yield from self._rows(f"paragraph {number}", text)
            else:
                self.blank += 1

    def _rows(self, locator: str, text: str) -> Iterator[Row]:
        lines = [line for line in text.split("\n") if line.strip()]
        if sum(split_pair(line) is not None for line in lines) > 1:
            # several pairs parted by line breaks (Shift+Enter) in one paragraph
            for number, line in enumerate(lines, start=1):
                yield _row(f"{locator}, line {number}", line)
        else:
            yield _row(locator, text)

    def _paragraphs(self) -> Iterator[str]:
        with open_archive(self.path, "a Word document") as archive:
            part = self._main_part(archive)
            try:
                with archive.open(part) as stream:
                    yield from self._texts(stream)
            except DAMAGE as error:
                raise SourceError(
                    f"{self.path}: its part {part} is damaged ({error}). "
                    "Open it in Word and save it again."
                ) from error

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

    def _texts(self, stream) -> Iterator[str]:
        """Text of each paragraph in the order of their ends, in constant memory."""
        # resolve_entities off and huge_tree off: neither files of this machine nor unlimited
        # amounts of text can be pulled in by an entity
        names = ("p", "t", "tab", "br", "cr", "noBreakHyphen", "sym")
        events = etree.iterparse(
            stream,
            events=("start", "end"),
            tag=[FALLBACK, *(f"{{{space}}}{name}" for space in NAMESPACES for name in names)],
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            huge_tree=False,
        )
        open_paragraphs: list[list[str]] = []
        fallbacks = 0
        checked = False
        for event, element in events:
            if not checked:
                if element.getroottree().docinfo.internalDTD is not None:
                    raise SourceError(
                        f"{self.path}: declares a document type, which Word never does. "
                        "Check where the file comes from."
                    )
                checked = True
            if element.tag == FALLBACK:
                fallbacks += 1 if event == "start" else -1
                continue
            name = element.tag.rpartition("}")[2]
            if event == "start":
                if name == "p":
                    open_paragraphs.append([])
            elif name != "p":
                if open_paragraphs and not fallbacks:
                    open_paragraphs[-1].append(_run_content(name, element))
            else:
                text = "".join(open_paragraphs.pop())
                if not fallbacks:
                    yield text
                # a paragraph in a text box lies inside another one, whose elements are still needed
                if not open_paragraphs:
                    element.clear()
                    while element.getprevious() is not None:
                        del element.getparent()[0]


def _run_content(name: str, element) -> str:
    match name:
        case "t":
            return element.text or ""
        case "tab" if element.getparent().tag.endswith("}r"):  # elsewhere: a tab stop
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
        return chr(int(code, 16))
    except (ValueError, OverflowError):
        return ""


def _row(locator: str, text: str) -> Row:
    text = text.strip()
    pair = split_pair(text)
    if pair is None:
        return Row(locator, text, reason="no_delimiter", detail="no arrow such as -> or →")
    return Row(locator, text, *pair)
