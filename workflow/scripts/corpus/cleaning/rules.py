"""What makes a row unusable by itself, whatever the others are."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from normalise import is_blank

from .texts import Languages

# Rows that nothing more can be said of.
FINAL = {"malformed_row", "undecodable", "unknown_shape", "deleted_in_review"}


class CleanError(Exception):
    """No usable corpus is left; the text says why and what to do."""


@dataclass(frozen=True)
class Rules:
    """The part corpus.clean of the configuration."""

    max_question_chars: int
    max_answer_chars: int
    min_question_chars: int = 1
    min_answer_chars: int = 1
    min_text_chars: int = 1
    adverts: tuple[re.Pattern, ...] = ()
    conflicting_answers: str = "reject"
    near_duplicates: float | None = None
    width: str = "keep"
    chinese: str = "keep"
    languages: tuple[str, ...] = ()
    _detector: Languages | None = field(default=None, repr=False)

    @classmethod
    def from_config(cls, config: dict) -> "Rules":
        """Compile the regular expressions.

        Raises:
            CleanError: one of them is not valid, or a language is not known.
        """
        patterns = []
        for index, pattern in enumerate(config["adverts"]):
            try:
                patterns.append(re.compile(pattern))
            except re.error as error:
                raise CleanError(
                    f"corpus.clean.adverts.{index}: {pattern!r} is not a regular expression "
                    f"({error}). Correct it; a literal ? * + ( [ needs a backslash before it."
                ) from error
        languages = tuple(config.get("languages", ()))
        try:
            detector = Languages(languages) if languages else None
        except ValueError as error:
            raise CleanError(f"corpus.clean.languages: {error}") from error
        given = {"adverts": tuple(patterns), "languages": languages, "_detector": detector}
        return cls(**config | given)

    def problem(self, row: dict) -> tuple[str, str] | None:
        """Reason and detail if a row of the schema `files.ROWS` has to be rejected for itself."""
        if row["reason"] in FINAL:
            return row["reason"], row["detail"]
        if found := self.advert(row):
            return found
        if row["reason"]:
            return row["reason"], row["detail"]
        for name, text, where in _parts(row):
            if found := self._limits(name, text):
                return found[0], where + found[1]
        if self._detector:
            said = "\n".join(text for role, text in _said(row) if role != "system")
            if language := self._detector.stranger(said):
                return "language", f"seems to be {language}, not {' or '.join(self.languages)}"
        return None

    def advert(self, row: dict) -> tuple[str, str] | None:
        """Reason and detail if an advert is anywhere in the text of a row."""
        said = "\n".join(text for _, text in _said(row)) if row["kind"] else row["original"]
        for pattern in self.adverts:
            if found := pattern.search(said):
                return "advert", f"{found.group()!r} matches {pattern.pattern!r}"
        return None

    def _limits(self, name: str, text: str) -> tuple[str, str] | None:
        text = text.strip()
        if not text or (name == "question" and is_blank(text)):
            return f"empty_{name}", "nothing but punctuation" if text else ""
        least, most = self.bounds(name)
        if len(text) < least:
            return f"too_short_{name}", f"{len(text)} characters, at least {least} are required"
        if most is not None and len(text) > most:
            return f"too_long_{name}", f"{len(text)} characters, at most {most} are allowed"
        return None

    def bounds(self, name: str) -> tuple[int, int | None]:
        """Least and most characters of a question, an answer or a text."""
        return {
            "question": (self.min_question_chars, self.max_question_chars),
            "answer": (self.min_answer_chars, self.max_answer_chars),
            "text": (self.min_text_chars, None),
        }[name]


def _said(row: dict) -> Iterator[tuple[str, str]]:
    """Role and text of all that a row says."""
    for column in ("messages", "chosen", "rejected"):
        for message in row[column] or ():
            yield message["role"], message["content"]
    if row["text"] is not None:
        yield "text", row["text"]
    for option in row["options"] or ():
        yield "option", option


_NAMES = {"user": "question", "assistant": "answer"}


def _parts(row: dict) -> Iterator[tuple[str, str, str]]:
    """Name, text and place of what has limits; of one turn, emptiness is looked at first."""
    if row["kind"] == "text":
        yield "text", row["text"] or "", ""
    messages = [m for m in row["messages"] or () if m["role"] in _NAMES]
    several = len(messages) > 2
    turn = 0
    for message in messages:
        turn += message["role"] == "user"
        name = _NAMES[message["role"]]
        yield name, message["content"], f"turn {max(turn, 1)}: " if several else ""
    for column in ("chosen", "rejected"):
        for message in row[column] or ():
            if message["role"] == "assistant":
                yield "answer", message["content"], f"{column}: "


def length_limits(rules: Rules, roles: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """Least and most characters of messages by their roles; a system prompt may have any."""
    least = np.zeros(len(roles), np.int64)
    most = np.full(len(roles), np.iinfo(np.int64).max)
    for role, name in _NAMES.items():
        here = pc.equal(roles, role).to_numpy(zero_copy_only=False)
        least[here], most[here] = rules.bounds(name)
        least[here] = np.maximum(least[here], 1)
    return least, most
