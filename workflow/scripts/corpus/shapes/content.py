"""What a row says, in one form for all shapes, and the checks of single values all shapes share."""

import ast
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

# A list written into a text field is parsed; nobody types one longer than this.
MAX_LITERAL = 1_000_000
# orjson writes 254 levels, and some are added around a field.
MAX_DEPTH = 200


class ShapeError(Exception):
    """One row does not fit its shape.

    Attributes:
        reason: code for the ledger, "unknown_shape" or "malformed_row".
        detail: what is wrong, with the name of the field, and what to do where that is clear.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def malformed(detail: str) -> ShapeError:
    """The error of a row whose shape is known but whose values are not as they must be."""
    return ShapeError("malformed_row", detail)


Messages = list[tuple[str, str]]

PLAIN = (str, bool, type(None))  # named once: `str | bool` would be made anew with each use
NUMBER = (int, float)


@dataclass(slots=True)
class Content:
    """What a row says; `kind` tells which of the attributes are filled.

    Attributes:
        kind: "chat", "text", "preference" or "choice".
        messages: (role, content); chat and choice: whole, preference: the prompt.
        chosen, rejected: preference: the better and the worse continuation of the prompt.
        text: text: a document to pre-train on.
        options: choice: texts of all options, the right one is the last message.
        meta: fields of the row that the shape does not use, fit for JSON.
    """

    kind: str
    messages: Messages = field(default_factory=list)
    chosen: Messages = field(default_factory=list)
    rejected: Messages = field(default_factory=list)
    text: str | None = None
    options: list[str] | None = None
    meta: dict = field(default_factory=dict)

    def change_texts(self, change: Callable[[str], str]) -> None:
        """Put what a function makes of it in the place of each text."""
        for messages in (self.messages, self.chosen, self.rejected):
            messages[:] = [(role, change(text)) for role, text in messages]
        if self.text:
            self.text = change(self.text)
        if self.options:
            self.options = [change(option) for option in self.options]


class Pair:
    """Makes the content of rows that are a question and its answer and nothing else.

    Attributes:
        question, answer: make a text of a row, or raise ShapeError.
        rest: the fields that go to meta.
    """

    def __init__(
        self,
        question: Callable[[dict], str],
        answer: Callable[[dict], str],
        rest: tuple[str, ...],
    ):
        self.question, self.answer, self.rest = question, answer, rest

    def __call__(self, row: dict) -> Content:
        meta = meta_of(row, self.rest)
        messages = [("user", self.question(row)), ("assistant", self.answer(row))]
        return Content("chat", messages, meta=meta)


def kind_of(value: object) -> str:
    """What a value is, in the words of somebody who looks at the file."""
    match value:
        case None:
            return "empty"
        case bool():
            return "true or false"
        case str():
            return "a text"
        case int() | float():
            return "a number"
        case list() | tuple():
            return "a list"
        case dict():
            return "an object"
    return f"a value of type {type(value).__name__}"


def is_number(value: object) -> bool:
    """Whether a value is a number, which true and false are for Python only."""
    return isinstance(value, NUMBER) and not isinstance(value, bool)


def is_blank(value: object) -> bool:
    """Whether a field holds nothing: missing, an empty list, white space, "not a number"."""
    if isinstance(value, str):
        return not value or value.isspace()
    # a number is unequal to itself where a table had no number in that cell
    return value is None or value != value or value == [] or value == {}


def text_of(value: object, name: str) -> str:
    """The text of a field; "" for an empty one, digits for a number (as tables have them too).

    Raises:
        ShapeError: the field holds something else.
    """
    if type(value) is str:
        return value
    if value is None or value != value:
        return ""
    if is_number(value) or isinstance(value, str):
        return str(value)
    raise malformed(f"the field {name!r} holds {kind_of(value)}, not a text")


def parsed(value: object) -> object:
    """A list or object written into a text field as JSON or as Python shows it, else the value.

    Tables have no lists, so tools that save rows as CSV write them in one of these two ways.
    """
    if not isinstance(value, str) or len(value) > MAX_LITERAL:
        return value
    text = value.strip()
    if not text or text[0] + text[-1] not in ("[]", "{}"):
        return value
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value
    return found if isinstance(found, list | dict) else value


def plain(value: object, depth: int = 0) -> object:
    """The value in a form that JSON can hold without loss of meaning.

    Raises:
        ShapeError: lists and objects are nested deeper than a JSON writer goes.
    """
    if isinstance(value, PLAIN):
        return value
    if depth > MAX_DEPTH:
        raise malformed(f"has lists or objects nested more than {MAX_DEPTH} deep")
    if type(value) is list:
        return [item if type(item) is str else plain(item, depth + 1) for item in value]
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if isinstance(value, dict):
        return {str(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, tuple | set):
        return [plain(item, depth + 1) for item in value]
    return str(value)


def meta_of(value: dict, names: tuple[str, ...]) -> dict:
    """The named fields of a row that hold something, fit for JSON.

    Raises:
        ShapeError: as for `plain`.
    """
    meta = {}
    for name in names:
        item = value[name]
        if type(item) is str:
            if item:
                meta[name] = item
        elif item is not None:
            meta[name] = plain(item)
    return meta
