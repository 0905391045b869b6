"""Texts made of the fields of a row: "用料：{recipeIngredient|lines}".

    {name}              the text or number in the field `name`
    {nutrition.calories}  a field inside a field; of each item where that is a list
    {steps|lines}       the items of a list, one on each line; also `numbered` and `comma`
    {name|strip}        without white space at both ends
    {dish|or:name}      another field where the first is missing or empty
    {author|or:"佚名"}  a text where it is
    {{  }}              a brace

Filters apply from left to right, `or:` before all others. A field that is missing or null makes
the row malformed; one that is blank gives nothing, and a template whose fields all give nothing is
empty, whatever text stands between them: no answer is made of headings alone.
"""

import functools
from collections.abc import Callable

from entry import SourceError

from .content import is_blank, is_number, kind_of, malformed, parsed

KNOWN = 'lines, numbered, comma, strip, or:FIELD and or:"TEXT"'
Row = dict
Fetch = Callable[[Row], object]


class Template:
    """A compiled template.

    Attributes:
        render: makes the text of a row, or raises ShapeError.
        parts: for each braced part, the fields of which the first that is filled is taken, and
            whether a row may lack them all.
        names: all fields named.
    """

    def __init__(self, text: str, where: str):
        """Compile a template.

        Args:
            text: the template.
            where: what to call it in messages.

        Raises:
            SourceError: a brace is not closed or a filter is not known.
        """
        pattern, parts = _split(text, where)
        self.render = _renderer(pattern, parts)
        self.parts = [(part.names, part.default is not None) for part in parts]
        self.names = tuple(dict.fromkeys(name for part in parts for name in part.names))


def fetcher(name: str) -> Fetch:
    """Function that takes a field, or a field inside fields, from a row; None where it is missing.

    >>> fetcher("a.b")({"a": [{"b": 1}, {"b": 2}]})
    [1, 2]
    """
    if "." not in name:
        return lambda row: row.get(name)
    steps = name.split(".")
    # a column may have a dot in its heading
    return lambda row: row[name] if name in row else _walk(row, steps)


def _walk(value: object, steps: list[str]) -> object:
    for index, step in enumerate(steps):
        if isinstance(value, list):
            found = [_walk(item, steps[index:]) for item in value]
            return found if any(item is not None for item in found) else None
        value = value.get(step) if isinstance(value, dict) else None
    return value


class _Part:
    """What stands between two braces."""

    def __init__(self, text: str, fail: Callable[[int, str], SourceError], start: int):
        name, *filters = _split_filters(text)
        names = [name.strip()]
        self.default: str | None = None
        self.filters: list[Callable[[object, str], object]] = []
        position = start + len(name) + 1
        for filter_text in filters:
            bare = filter_text.strip()
            if bare.startswith("or:"):
                other = bare.removeprefix("or:").strip()
                if self.default is not None:
                    raise fail(position, "nothing can follow `or:` with a text")
                if len(other) > 1 and other[0] == other[-1] == '"':
                    self.default = other[1:-1]
                else:
                    names.append(other)
            elif bare in FILTERS:
                self.filters.append(FILTERS[bare])
            else:
                raise fail(position, f"unknown filter {bare!r}; known are {KNOWN}")
            position += len(filter_text) + 1
        if not all(names):
            raise fail(start, "a field name is missing; write {{ for a brace that is text")
        self.names = tuple(names)

    def compiled(self) -> Callable[[Row], str]:
        """Function from a row to the text of this part."""
        names, filters, fetch = self.names, self.filters, fetcher(self.names[0])
        if len(names) > 1 or self.default is not None:
            fetch = _first_of(names, self.default)
        missing = f"the field {names[0]!r} is missing or empty"
        if len(names) > 1:
            missing = f"the fields {', '.join(map(repr, names))} are all missing or empty"
        name = names[0]

        def render(row: Row) -> str:
            value = fetch(row)
            if type(value) is str and not filters:
                return value
            if value is None:
                raise malformed(missing)
            for apply in filters:
                value = apply(value, name)
            return value if type(value) is str else _text(value, name)

        return render


def _first_of(names: tuple[str, ...], default: str | None) -> Fetch:
    fetchers = [fetcher(name) for name in names]

    def fetch(row: Row) -> object:
        for one in fetchers:
            value = one(row)
            if not is_blank(value):
                return value
        return default

    return fetch


def _split_filters(text: str) -> list[str]:
    """Parts between "|", of which a quoted text may hold some."""
    pieces = [""]
    quoted = False
    for character in text:
        quoted ^= character == '"'
        if character == "|" and not quoted:
            pieces.append("")
        else:
            pieces[-1] += character
    return pieces


def _split(text: str, where: str) -> tuple[str, list[_Part]]:
    """Pattern for the % operator and the parts that go into it."""

    def fail(position: int, problem: str) -> SourceError:
        return SourceError(
            f"{where}: position {position + 1} of {text!r}: {problem}. Correct the template."
        )

    pattern, parts = [], []
    position = 0
    while position < len(text):
        if text.startswith(("{{", "}}"), position):
            pattern.append(text[position])
            position += 2
        elif text[position] == "{":
            end = _closing(text, position)
            if end < 0:
                raise fail(position, "the brace is not closed; write {{ for a brace that is text")
            parts.append(_Part(text[position + 1 : end], fail, position + 1))
            pattern.append("%s")
            position = end + 1
        else:
            pattern.append("%%" if text[position] == "%" else text[position])
            position += 1
    return "".join(pattern), parts


def _closing(text: str, start: int) -> int:
    """Position of the brace that closes the one at `start`, -1 where there is none."""
    quoted = False
    for position in range(start + 1, len(text)):
        quoted ^= text[position] == '"'
        if not quoted and text[position] in "{}":
            return position if text[position] == "}" else -1
    return -1


def _renderer(pattern: str, parts: list[_Part]) -> Callable[[Row], str]:
    renders = [part.compiled() for part in parts]
    # a default says nothing about whether the row has something to say
    counted = [index for index, part in enumerate(parts) if part.default is None]
    if len(counted) == len(renders) == 1:
        only = renders[0]
        return lambda row: pattern % text if (text := only(row)) else ""

    def render(row: Row) -> str:
        texts = tuple([one(row) for one in renders])
        # the short way first: nearly all rows have something in all fields
        if counted and not all(texts) and not any(texts[index] for index in counted):
            return ""
        return pattern % texts

    return render


def _text(value: object, name: str) -> str:
    if value != value:  # a table has this for an empty cell in a column of numbers
        return ""
    if is_number(value):
        return str(value)
    if isinstance(value, list):
        raise malformed(f"the field {name!r} holds a list; write {{{name}|lines}} in the template")
    if isinstance(value, dict):
        raise malformed(
            f"the field {name!r} holds an object with {', '.join(map(str, value)) or 'no fields'}; "
            f"write {{{name}.FIELD}} in the template"
        )
    raise malformed(f"the field {name!r} holds {kind_of(value)}, not a text")


def _items(value: object, name: str) -> list[str]:
    """Texts of a list without its blank items; a text counts as a list of one."""
    if type(value) is not list:
        value = parsed(value)
        if type(value) is not list:
            value = [value]
    try:
        if all(map(str.strip, value)):  # nearly always
            return value
    except TypeError:  # not all of them are texts
        pass
    filled = (item for item in value if not is_blank(item))
    return [item if isinstance(item, str) else _text(item, name) for item in filled]


def _lines(value: object, name: str) -> str:
    return "\n".join(_items(value, name))


def _numbered(value: object, name: str) -> str:
    items = _items(value, name)
    return _numbers(len(items)) % tuple(items)


@functools.lru_cache(100)
def _numbers(count: int) -> str:
    """Pattern for so many items; to fill it in takes half the time of a text for each item."""
    return "\n".join(f"{number}. %s" for number in range(1, count + 1))


def _comma(value: object, name: str) -> str:
    return ", ".join(_items(value, name))


def _strip(value: object, name: str) -> object:
    if isinstance(value, list):
        return [item.strip() if isinstance(item, str) else item for item in value]
    return value.strip() if isinstance(value, str) else value


FILTERS = {"lines": _lines, "numbered": _numbered, "comma": _comma, "strip": _strip}
