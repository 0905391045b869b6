"""Numbers that Word writes in front of paragraphs by itself: "12.", "A.".

They are not in the text of a document, so a question whose options were typed as a list would have
none. Format: ECMA-376 part 1, 17.9 (numbering).
"""

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from .office import forget, parent_name, parse_part

PART = "word/numbering.xml"
MAX_LEVELS = 9
PLACE = re.compile("%([1-9])")


@dataclass(slots=True)
class _Level:
    kind: str = "decimal"
    text: str = ""
    start: int = 1


class Numbering:
    """Counts the numbered paragraphs of a document, in their order."""

    def __init__(self, path: Path, archive: zipfile.ZipFile):
        """Read how the lists of a document are numbered.

        Raises:
            SourceError: that part is damaged.
        """
        self._lists: dict[str, str] = {}  # list to the definition that it follows
        self._levels: dict[str, dict[int, _Level]] = {}  # of each definition
        self._counts: dict[str, list[int]] = {}
        self._restarts: dict[str, dict[int, int]] = {}  # of lists not met yet: level to number
        if PART in archive.namelist():
            self._read(parse_part(path, archive, PART, ["{*}abstractNum", "{*}num"]))

    def _read(self, elements: Iterator[tuple[str, etree._Element]]) -> None:
        for _, element in elements:
            if parent_name(element) == "numbering":
                if element.tag.endswith("}num"):
                    name = _attribute(element, "numId")
                    self._lists[name] = next(iter(_values(element, "abstractNumId")), "")
                    self._restarts[name] = {
                        _number(_attribute(override, "ilvl"), 0): _number(start, 1)
                        for override in element.iterchildren("{*}lvlOverride")
                        for start in _values(override, "startOverride")
                    }
                else:
                    levels = element.iterchildren("{*}lvl")
                    self._levels[_attribute(element, "abstractNumId")] = {
                        _number(_attribute(level, "ilvl"), 0): _level(level) for level in levels
                    }
                forget(element)

    def next(self, name: str, depth: str) -> str:
        """What Word writes in front of the next paragraph of a list, "" where it is no number.

        Args:
            name: the list (numId).
            depth: the level within it (ilvl).
        """
        definition, level = self._lists.get(name, ""), _number(depth, 0)
        levels = self._levels.get(definition, {})
        if level not in levels or not level < MAX_LEVELS:
            return ""
        counts = self._counts.setdefault(definition, [0] * MAX_LEVELS)
        for restarted, start in self._restarts.pop(name, {}).items():
            if restarted < MAX_LEVELS:
                counts[restarted] = max(start - 1, 0)
        counts[level] = counts[level] + 1 if counts[level] else levels[level].start
        counts[level + 1 :] = [0] * (MAX_LEVELS - level - 1)

        def counted(found: re.Match) -> str:
            place = int(found[1]) - 1
            about = levels.get(place, _Level())
            return _shown(counts[place] or about.start, about.kind)

        if levels[level].kind in ("bullet", "none"):
            return ""
        return PLACE.sub(counted, levels[level].text)


def _level(element: etree._Element) -> _Level:
    kind, text, start = (
        next(iter(_values(element, name)), "") for name in ("numFmt", "lvlText", "start")
    )
    return _Level(kind or "decimal", text, _number(start, 1))


def _shown(count: int, kind: str) -> str:
    if kind in ("upperLetter", "lowerLetter") and 0 < count <= 26:
        return chr(ord("A" if kind == "upperLetter" else "a") + count - 1)
    return str(count)  # also for kinds that number chapters, such as Roman


def _values(element: etree._Element, name: str) -> list[str]:
    return [_attribute(child, "val") for child in element.iterchildren(f"{{*}}{name}")]


def _attribute(element: etree._Element, name: str) -> str:
    return next((v for k, v in element.attrib.items() if k.rpartition("}")[2] == name), "")


def _number(text: str, default: int) -> int:
    return int(text) if text.isdecimal() and len(text) < 6 else default
