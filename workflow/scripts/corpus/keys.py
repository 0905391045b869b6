"""Hashes that tell which rows say the same, ask the same, and belong together in the split."""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pyarrow as pa
from characters import key_forms
from contents import KINDS, MESSAGE_COLUMNS, names
from files import flat_messages
from normalise import is_blank
from split import draw, group_of_form

# The question of a multiple-choice one as it looks to a question without options: those ask the
# same, but "which of these is right" asks nothing without its options.
OPTIONLESS = np.uint64(0x5BD1E9955BD1E995)


@dataclass(slots=True)
class Keys:
    """Of each row of a batch:

    Attributes:
        kinds: position in KINDS.
        ids: what it says.
        questions: what it asks, for questions that can have but one answer; else 0.
        groups, draws: its group of the split, and the number that decides about the group.
        asked, asked_starts: what its turns ask: row i has asked[starts[i] : starts[i + 1]].
        blank: whether it asks, or answers, with nothing but punctuation.
    """

    kinds: np.ndarray
    ids: np.ndarray
    questions: np.ndarray
    groups: np.ndarray
    draws: np.ndarray
    asked: np.ndarray
    asked_starts: np.ndarray
    blank: np.ndarray


def number(*parts: str) -> int:
    """`normalise.digest` as a number."""
    return int.from_bytes(blake2b("\x1f".join(parts).encode(), digest_size=8).digest(), "big")


def keys_of(batch: pa.RecordBatch, seed: int) -> Keys:
    """Keys of the rows of a batch of the schema `files.ROWS`, whose texts are trimmed."""
    said: dict[str, tuple[list[int], list[str], list[str]]] = {}
    for name in MESSAGE_COLUMNS:
        column = batch.column(name)
        if column.null_count < len(column):
            starts, roles, contents = flat_messages(column)
            said[name] = starts.tolist(), roles.to_pylist(), key_forms(contents)
    text = batch.column("text")
    texts = key_forms(text) if text.null_count < len(text) else None
    options = batch.column("options").to_pylist()

    rows, asked, starts = [], [], [0]
    for index, kind in enumerate(names(batch.column("kind"))):
        if kind is None:
            rows.append((0, 0, 0, 0, 0.0, False))
        elif kind == "text":
            form = texts[index]
            group = group_of_form(form)
            rows.append((KINDS.index(kind), number("text", form), 0, int(group, 16), 1.0, False))
        else:
            parts = {
                name: list(zip(r[s[index] : s[index + 1]], f[s[index] : s[index + 1]], strict=True))
                for name, (s, r, f) in said.items()
            }
            rows.append(_row(kind, parts, options[index], seed, asked))
        starts.append(len(asked))
    kinds, ids, questions, groups, draws, blank = zip(*rows, strict=True) if rows else [()] * 6
    return Keys(
        np.array(kinds, np.uint8),
        np.array(ids, np.uint64),
        np.array(questions, np.uint64),
        np.array(groups, np.uint64),
        np.array(draws, np.float64),
        np.array(asked, np.uint64),
        np.array(starts, np.int64),
        np.array(blank, bool),
    )


def _row(
    kind: str,
    parts: dict[str, list[tuple[str, str]]],
    options: list[str] | None,
    seed: int,
    asked: list[int],
) -> tuple[int, int, int, int, float, bool]:
    """Keys of one row with messages; what it asks is appended to `asked`."""
    messages = parts["messages"]
    users = [form for role, form in messages if role == "user"]
    first = users[0] if users else ""
    if len(messages) == 2 and kind == "chat" and messages[0][0] == "user":
        # most rows; the hashes are those of the first version, as published splits depend on them
        answer = messages[1][1]
        content = number(first, answer)
        question = number(first)
        group = group_of_form(answer)
        asked.append(question)
    elif kind == "choice":
        forms = sorted(key_forms(pa.array(options)))
        answer = messages[-1][1]
        question = number("options", first, *forms)
        content = number("choice", first, answer, *forms)
        group = group_of_form(answer)
        asked += [number(first), question, number("right", first, answer)]
    elif kind == "preference":
        flat = [f"{role}\x1e{form}" for name in MESSAGE_COLUMNS for role, form in parts[name]]
        lengths = ",".join(str(len(parts[name])) for name in MESSAGE_COLUMNS)
        content, question = number("preference", lengths, *flat), 0
        group = group_of_form("\n".join(form for role, form in messages if role != "system"))
        asked += [number(form) for form in users]
    else:
        flat = [f"{role}\x1e{form}" for role, form in messages]
        content = number("chat", *flat)
        single = len(users) == 1 and messages[-2:-1] and messages[-2][0] == "user"
        question = number("chat", *flat[:-1]) if single else 0
        group = group_of_form("\n".join(form for role, form in messages if role == "assistant"))
        asked += [number(form) for form in users]
    blank = any(not form[:1].isalnum() and is_blank(form) for form in users)
    return KINDS.index(kind), content, question, int(group, 16), draw(group, seed), blank


def hexadecimal(numbers: np.ndarray) -> list[str]:
    """Keys as `normalise.digest` writes them."""
    return [f"{value:016x}" for value in numbers.tolist()]
