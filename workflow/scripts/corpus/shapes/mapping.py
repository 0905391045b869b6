"""Rows whose fields are named in the configuration: `question: 题目`, `answer: "{steps|lines}"`.

    question + answer                 a chat of one turn
    question + options + answer       multiple choice; `options` is one field, or a list of fields
    question + chosen + rejected      preference; so are messages, or chosen and rejected alone
    messages                          a chat in any of the forms of lists
    text                              a text to pre-train on
    system                            beside any of them, or alone beside a recognised shape

A value with a brace is a template (template.py), any other the name of a field; a name with a dot
may mean a field inside a field.
"""

import difflib
from collections.abc import Callable

from entry import SourceError

from . import choice
from .content import (
    Content,
    Messages,
    Pair,
    is_blank,
    malformed,
    meta_of,
    parsed,
    text_of,
)
from .preference import preference
from .recognise import Builder, read_conversation
from .template import Template, fetcher
from .turns import check_chat, read_turns

KEYS = ("question", "answer", "system", "text", "chosen", "rejected", "messages", "options")
COMBINATIONS = [
    {"question", "answer"},
    {"question", "options", "answer"},
    {"question", "chosen", "rejected"},
    {"messages", "chosen", "rejected"},
    {"chosen", "rejected"},
    {"messages"},
    {"text"},
]


class Value:
    """What one key of the mapping takes from a row.

    Attributes:
        key: the key in corpus.sources.
        names: all fields it names.
        needs: groups of fields of which a source has to have one.
        text: makes a text of a row, or raises ShapeError.
        raw: takes the field as it is; for a template the text.
    """

    def __init__(self, key: str, written: str):
        self.key = key
        if "{" in written:
            template = Template(written, f"`{key}:` in corpus.sources")
            self.names = template.names
            self.needs = [names for names, optional in template.parts if not optional]
            self.text = self.raw = template.render
            return
        self.names = (written,)
        self.needs = [(written,)]
        self.raw = _field(written)
        self.text = _field_text(written, self.raw)


def _field(name: str) -> Callable[[dict], object]:
    fetch = fetcher(name)
    root = name.partition(".")[0]

    def take(row: dict) -> object:
        value = fetch(row)
        if value is None and name not in row and root not in row:
            raise malformed(f"has no field {name!r}")
        return value

    return take


def _field_text(name: str, take: Callable[[dict], object]) -> Callable[[dict], str]:
    def text(row: dict) -> str:
        value = row.get(name)
        return value if type(value) is str else text_of(take(row), name)

    return text


class Mapping:
    """The shape that the configuration gives to the rows of a source."""

    def __init__(self, options: dict):
        """Compile the mapping.

        Raises:
            SourceError: a template is wrong, or the keys do not make a row.
        """
        given = {key: options[key] for key in KEYS if options.get(key) is not None}
        listed = given.pop("options", None)
        columns = listed if isinstance(listed, list) else [] if listed is None else [listed]
        self._one_field = not isinstance(listed, list)
        for key, written in (*given.items(), *(("options", column) for column in columns)):
            if not isinstance(written, str) or not written:
                raise SourceError(f"`{key}:` in corpus.sources is {written!r}, not a field name.")
        self._values = {key: Value(key, written) for key, written in given.items()}
        self._options = [Value("options", written) for written in columns]
        content = {*(given.keys() - {"system"}), *(["options"] if columns else [])}
        if content and content not in COMBINATIONS:
            keys = ", ".join(f"`{key}:`" for key in KEYS if key in content)
            known = "; ".join(
                " + ".join(key for key in KEYS if key in keys) for keys in COMBINATIONS
            )
            raise SourceError(
                f"{keys} in corpus.sources do not make a row. These do, with `system:` or "
                f"without: {known}."
            )
        for key, written in (("messages", given.get("messages")), ("options", listed)):
            if isinstance(written, str) and "{" in written:
                raise SourceError(
                    f"`{key}:` in corpus.sources is a template, but has to be a field with a list."
                )
        self.is_partial = not content
        self._system = self._values.pop("system", None)
        self._make = self._maker(content)

    @property
    def names(self) -> set[str]:
        """All fields named, and the outer fields of those inside others."""
        named = {name for value in self._all_values() for name in value.names}
        return named | {name.partition(".")[0] for name in named}

    def _all_values(self) -> list[Value]:
        system = [self._system] if self._system else []
        return [*self._values.values(), *self._options, *system]

    def builder(self, fields: tuple[str, ...], recognised: Builder | None) -> Builder:
        """Function that makes the content of rows with these fields, or raises ShapeError.

        Args:
            fields: names of the fields.
            recognised: the builder by the names of the fields, used where the mapping has
                `system` alone.
        """
        used = {name for value in self._all_values() for name in value.names}
        rest = tuple(name for name in fields if name not in used)
        if recognised is not None:
            return self._with_system(recognised, drop=used)
        if self._values.keys() == {"question", "answer"} and not self._options:
            build = Pair(self._values["question"].text, self._values["answer"].text, rest)
        else:
            build = self._content_builder(rest)
        return self._with_system(build, drop=set()) if self._system else build

    def _content_builder(self, rest: tuple[str, ...]) -> Builder:
        make = self._make
        return lambda row: make(row, meta_of(row, rest))

    def missing(self, seen: set[str]) -> str | None:
        """What a source whose rows have these fields lacks, None where it lacks nothing."""
        for value in self._all_values():
            for group in value.needs:
                if not any(name in seen or name.partition(".")[0] in seen for name in group):
                    return _missing(value.key, group, seen)
        return None

    def _with_system(self, build: Builder, drop: set[str]) -> Builder:
        system = self._system.text

        def with_system(row: dict) -> Content:
            content = build(row)
            text = system(row)
            if not is_blank(text) and content.kind != "text":
                messages = content.messages
                if messages[0][0] == "system":
                    messages = messages[1:]
                content.messages = [("system", text), *messages]
            for name in drop:
                content.meta.pop(name, None)
            return content

        return with_system

    def _maker(self, content: set[str]) -> Callable[[dict, dict], Content] | None:
        value = self._values.get
        if content == {"text"}:
            text = value("text").text
            return lambda row, meta: Content("text", text=text(row), meta=meta)
        if "chosen" in content:
            return self._preference()
        if content == {"messages"}:
            return self._messages()
        if "options" in content:
            return self._choice()
        return None

    def _messages(self) -> Callable[[dict, dict], Content]:
        name, take = self._values["messages"].names[0], self._values["messages"].raw

        def make(row: dict, meta: dict) -> Content:
            messages, notes = read_conversation(take(row), name, None)
            if notes:
                meta[name] = notes
            return Content("chat", check_chat(messages, name), meta=meta)

        return make

    def _preference(self) -> Callable[[dict, dict], Content]:
        chosen, rejected = self._values["chosen"], self._values["rejected"]
        prompt = self._values.get("question") or self._values.get("messages")
        names = [value.names[0] for value in (chosen, rejected)]
        if names[0] == names[1]:
            names = ["chosen", "rejected"]

        def make(row: dict, meta: dict) -> Content:
            messages: Messages = []
            if prompt:
                messages = _prompt(prompt.raw(row), prompt.names[0] if prompt.names else "question")
            sides = dict(zip(names, (chosen.raw(row), rejected.raw(row)), strict=True))
            return preference(messages, "question" if prompt else "", sides, meta)

        return make

    def _choice(self) -> Callable[[dict, dict], Content]:
        question, answer = self._values["question"].text, self._values["answer"]
        name = answer.names[0] if answer.names else "answer"
        listed = self._options

        def make(row: dict, meta: dict) -> Content:
            if self._one_field:
                options = choice.read_options(listed[0].raw(row), listed[0].names[0])
            else:
                options = choice.from_texts([value.raw(row) for value in listed], "options")
            messages, texts = choice.choose(question(row), options, {name: answer.raw(row)})
            return Content("choice", messages, options=texts, meta=meta)

        return make


def _prompt(value: object, name: str) -> Messages:
    turns = parsed(value)
    if isinstance(turns, list) and turns and isinstance(turns[0], dict):
        return read_turns(turns, name)[0]
    return [("user", text_of(value, name))]


def _missing(key: str, group: tuple[str, ...], seen: set[str]) -> str:
    found = ", ".join(list(seen)[:20]) or "none"
    close = difflib.get_close_matches(group[0], seen, n=1)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    fields = " or ".join(map(repr, group))
    return (
        f"no row has the field {fields}; fields found: {found}.{meant} "
        f"Correct `{key}:` in corpus.sources."
    )
