"""Plain text and Markdown: paragraphs or whole documents to pre-train on, or pairs by a pattern."""

import re
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from entry import Entry, SourceError

from .encoding import MAX_LINE, escaped, is_damaged, open_text, read_lines, take_sample, too_long
from .mapping import names_of

SAMPLE_LINES = 1_000
# Nobody wraps lines at more columns (a hanzi takes two); longer ones are paragraphs themselves.
MAX_WRAPPED = 120

# Of Markdown: "# heading", or a line underlined with = or -.
HEADING = re.compile(r" {0,3}#{1,6}(?:[ \t].*)?|[^\n]*\S[^\n]*\n {0,3}(?:=+|-{2,})[ \t]*")
FENCES = ("```", "~~~")

Block = tuple[int, str]  # number of its first line, text


class TextReader:
    """{"text"} of each paragraph or document, or the groups of the patterns that match in it."""

    def __init__(self, path: Path, options: dict):
        self.path = path
        self.options = options
        self.blank = 0
        self.facts: dict[str, str | int] = {}
        self._patterns = [self._compile(pattern) for pattern in options.get("patterns") or []]
        # under the names that the mapping looks for
        self._names = dict(zip(("question", "answer"), names_of(options), strict=True))

    def __iter__(self) -> Iterator[Entry]:
        stream, self.facts = open_text(self.path, self.options)
        with stream:
            lines = read_lines(stream, self.path)
            for number, text in self._units(lines):
                if is_damaged(text):
                    detail = f"has bytes that are no characters in {self.facts['encoding']}"
                    entry = Entry(f"line {number}", escaped(text), None, "undecodable", detail)
                    yield entry
                elif "\0" in text:
                    detail = "holds a zero byte"
                    yield Entry(f"line {number}", text, None, "malformed_row", detail)
                elif self._patterns:
                    yield from self._pairs(number, text, self._patterns)
                else:
                    yield Entry(f"line {number}", text, {"text": text})

    def _compile(self, pattern: str) -> re.Pattern:
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise SourceError(
                f"{self.path}: {pattern!r} of `patterns:` in corpus.sources is no regular "
                f"expression ({error})."
            ) from error
        if not {"question", "answer"} <= compiled.groupindex.keys():
            raise SourceError(
                f"{self.path}: {pattern!r} of `patterns:` in corpus.sources lacks a group "
                "(?P<question>...) or (?P<answer>...)."
            )
        return compiled

    def _pairs(self, number: int, text: str, patterns: list[re.Pattern]) -> Iterator[Entry]:
        """What the first pattern finds in a text, and what the others find in the rest of it."""
        if not text.strip():
            return
        number += text.count("\n", 0, len(text) - len(text.lstrip()))
        if not patterns:
            detail = "none of the patterns matches"
            yield Entry(f"line {number}", text.strip(), None, "no_delimiter", detail)
            return
        text = text.strip()
        pattern, *others = patterns
        end, line = 0, number
        for found in pattern.finditer(text):
            if not found.group():
                continue
            yield from self._pairs(line, text[end : found.start()], others)
            start = number + text.count("\n", 0, found.start())
            fields = {
                self._names.get(name, name): group.strip()
                for name, group in found.groupdict("").items()
            }
            yield Entry(f"line {start}", found.group().strip(), fields)
            end = found.end()
            line = number + text.count("\n", 0, end)
        yield from self._pairs(line, text[end:], others)

    def _units(self, lines: Iterator[str]) -> Iterator[Block]:
        if self.options.get("unit") == "document":
            yield from self._joined(lines, lambda block, line: False)
        else:
            yield from self._paragraphs(lines)

    def _paragraphs(self, lines: Iterator[str]) -> Iterator[Block]:
        sample = take_sample(lines, SAMPLE_LINES)
        lines = chain(sample, lines)
        if not self._patterns and _lines_are_paragraphs(sample):
            self.facts["paragraph"] = "each line"
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line.strip()
                else:
                    self.blank += 1
        else:
            self.facts["paragraph"] = "between blank lines"
            yield from self._joined(lines, lambda block, line: not line.strip())

    def _joined(
        self, lines: Iterator[str], is_end: Callable[[list[str], str], bool]
    ) -> Iterator[Block]:
        """Lines put together, up to each one that ends a block."""
        block: list[str] = []
        size, start = 0, 1
        for number, line in enumerate(lines, start=1):
            if is_end(block, line):
                if block:
                    yield start, _text(block)
                block, size = [], 0
            elif block or line.strip():
                start = start if block else number
                block.append(line)
                size += len(line)
                if size > MAX_LINE:
                    raise too_long(self.path, f"the text from line {start} on", MAX_LINE)
        if block:
            yield start, _text(block)


class MarkdownReader(TextReader):
    """The same, with each heading in front of the text that follows it."""

    def _paragraphs(self, lines: Iterator[str]) -> Iterator[Block]:
        fence = ""

        def is_end(block: list[str], line: str) -> bool:
            nonlocal fence
            mark = line.lstrip()[:3]
            if fence:
                fence = "" if mark == fence else fence
                return False
            fence = mark if mark in FENCES else ""
            return not line.strip() and not HEADING.fullmatch(_text(block).rpartition("\n\n")[2])

        yield from self._joined(lines, is_end)


def _text(lines: list[str]) -> str:
    return "".join(lines).replace("\r\n", "\n").replace("\r", "\n").strip()


def _lines_are_paragraphs(sample: list[str]) -> bool:
    """Whether each line is a paragraph, rather than a part of one wrapped to a width."""
    text = "".join(sample)
    if not re.search(r"\S[ \t]*(?:\r\n?|\n)\s*?(?:\r\n?|\n)", text):
        return True
    filled = [line for line in map(str.strip, sample) if line]
    wide = [line for line in filled if len(line) + len(_WIDE.findall(line)) > MAX_WRAPPED]
    return len(wide) > len(filled) / 10


_WIDE = re.compile("[\u2e80-\uffef]")
