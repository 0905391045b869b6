"""Hashes that tell which rows say the same, ask the same, and belong together in the split."""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pyarrow as pa
from files import flat_messages
from normalise import is_blank, key_form

from .characters import key_forms
from .contents import KINDS, MESSAGE_COLUMNS, SAID_COLUMNS, names, question
from .split import draws, group_of_form, groups_of_forms

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


def from_hexadecimal(numbers: list[str]) -> np.ndarray:
    """Keys from what `hexadecimal` made of them."""
    return np.frombuffer(bytes.fromhex("".join(numbers)), ">u8").astype(np.uint64)


def _numbers(hashes: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(hashes), ">u8").astype(np.uint64)


def keys_of(batch: pa.RecordBatch, seed: int) -> Keys:
    """Keys of the rows of a batch of the schema `files.ROWS`, whose texts are trimmed."""
    said: dict[str, tuple[np.ndarray, list[str], list[str]]] = {}
    for name in MESSAGE_COLUMNS:
        column = batch.column(name)
        if column.null_count < len(column):
            starts, roles, contents = flat_messages(column)
            said[name] = starts, roles.to_pylist(), key_forms(contents)
    kinds = names(batch.column("kind"))
    if kinds.count("chat") == len(kinds) and (keys := _all_simple(*said["messages"], seed)):
        return keys
    text = batch.column("text")
    texts = key_forms(text) if text.null_count < len(text) else None
    options = batch.column("options").to_pylist()

    rows, asked, asked_starts = [], [], [0]
    for index, kind in enumerate(kinds):
        if kind is None:
            rows.append((0, 0, 0, 0, False))
        elif kind == "text":
            form = texts[index]
            asked.append(number(form))  # a benchmark may be given as text
            group = int(group_of_form(form), 16)
            rows.append((KINDS.index(kind), number("text", form), 0, group, False))
        else:
            parts = {
                name: list(
                    zip(
                        roles[starts[index] : starts[index + 1]],
                        forms[starts[index] : starts[index + 1]],
                        strict=True,
                    )
                )
                for name, (starts, roles, forms) in said.items()
            }
            put = _put(batch.slice(index, 1)) if kind == "choice" else ""
            rows.append(_row(kind, parts, options[index], put, asked))
        asked_starts.append(len(asked))
    columns = list(zip(*rows, strict=True)) if rows else [()] * 5
    groups = np.array(columns[3], np.uint64)
    return Keys(
        kinds=np.array(columns[0], np.uint8),
        ids=np.array(columns[1], np.uint64),
        questions=np.array(columns[2], np.uint64),
        groups=groups,
        draws=draws(hexadecimal(groups), seed),
        asked=np.array(asked, np.uint64),
        asked_starts=np.array(asked_starts, np.int64),
        blank=np.array(columns[4], bool),
    )


def _all_simple(starts: np.ndarray, roles: list[str], forms: list[str], seed: int) -> Keys | None:
    """Keys of chats, if each is one question and one answer; as `_row` makes them, but faster."""
    number = len(starts) - 1
    if roles != ["user", "assistant"] * number or not (np.diff(starts) == 2).all():
        return None
    asked = [form.encode() for form in forms[::2]]
    answers = [form.encode() for form in forms[1::2]]
    questions = _numbers([blake2b(form, digest_size=8).digest() for form in asked])
    groups = groups_of_forms(answers)
    ids = [
        blake2b(b"%b\x1f%b" % pair, digest_size=8).digest()
        for pair in zip(asked, answers, strict=True)
    ]
    return Keys(
        kinds=np.zeros(number, np.uint8),
        ids=_numbers(ids),
        questions=questions,
        groups=from_hexadecimal(groups),
        draws=draws(groups, seed),
        asked=questions,
        asked_starts=np.arange(number + 1),
        blank=np.array([_is_blank(form) for form in forms[::2]], bool),
    )


def _is_blank(form: str) -> bool:
    return not form[:1].isalnum() and is_blank(form)


def _row(
    kind: str,
    parts: dict[str, list[tuple[str, str]]],
    options: list[str] | None,
    put: str,
    asked: list[int],
) -> tuple[int, int, int, int, bool]:
    """Keys of one row with messages; what it asks is appended to `asked`."""
    messages = parts["messages"]
    users = [form for role, form in messages if role == "user"]
    first = users[0] if users else ""
    if len(messages) == 2 and kind == "chat" and messages[0][0] == "user":
        # these hashes never change, as published splits depend on them
        answer = messages[1][1]
        content = number(first, answer)
        asks = number(first)
        group = group_of_form(answer)
        asked.append(asks)
    elif kind == "choice":
        forms = sorted(key_forms(pa.array(options)))
        answer = messages[-1][1]
        with_options = number("options", first, *forms)
        content, asks = number("choice", first, answer, *forms), with_options
        group = group_of_form(answer)
        asked += [number(first), with_options, number("right", first, answer), number(put)]
    elif kind == "preference":
        flat = [f"{role}\x1e{form}" for name in MESSAGE_COLUMNS for role, form in parts[name]]
        lengths = ",".join(str(len(parts[name])) for name in MESSAGE_COLUMNS)
        content, asks = number("preference", lengths, *flat), 0
        group = group_of_form("\n".join(form for role, form in messages if role != "system"))
        asked += [number(form) for form in users]
    else:
        flat = [f"{role}\x1e{form}" for role, form in messages]
        content = number("chat", *flat)
        single = len(users) == 1 and messages[-2:-1] and messages[-2][0] == "user"
        asks = number("chat", *flat[:-1]) if single else 0
        group = group_of_form("\n".join(form for role, form in messages if role == "assistant"))
        asked += [number(form) for form in users]
    return KINDS.index(kind), content, asks, int(group, 16), any(map(_is_blank, users))


def _put(row: pa.RecordBatch) -> str:
    """Form of a multiple-choice question with its options, as it is put."""
    return key_form(question(row.select(SAID_COLUMNS).to_pylist()[0]))


def hexadecimal(numbers: np.ndarray) -> list[str]:
    """Keys as `normalise.digest` writes them."""
    digits = numbers.astype(">u8").tobytes().hex()
    return [digits[place : place + 16] for place in range(0, len(digits), 16)]
