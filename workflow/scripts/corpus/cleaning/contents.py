"""What the rows of a batch say, as arrays over all their messages."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from chat_forms import choice_question, choice_texts
from files import MESSAGES, flat_messages

KINDS = ("chat", "choice", "preference", "text")
MESSAGE_COLUMNS = ("messages", "chosen", "rejected")


def names(column: pa.Array) -> list[str | None]:
    """A column of names as a list of Python strings."""
    return column.cast(pa.string()).to_pylist()


def trimmed(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch whose texts, messages and options have no white space around them."""
    columns = batch.columns
    for index, name in enumerate(batch.schema.names):
        column = columns[index]
        if name == "text":
            columns[index] = pc.utf8_trim_whitespace(column)
        elif name == "options" and column.null_count < len(column):
            columns[index] = _same_lists(column, pc.utf8_trim_whitespace(_inner(column)))
        elif name in MESSAGE_COLUMNS and column.null_count < len(column):
            _, roles, contents = flat_messages(column)
            values = pa.StructArray.from_arrays(
                [roles, pc.utf8_trim_whitespace(contents)], fields=list(MESSAGES.value_type)
            )
            columns[index] = _same_lists(column, values)
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _inner(column: pa.ListArray) -> pa.Array:
    offsets = column.offsets
    first, last = offsets[0].as_py(), offsets[-1].as_py()
    return column.values.slice(first, last - first)


def _same_lists(column: pa.ListArray, values: pa.Array) -> pa.ListArray:
    """Lists like those of a column, of other values."""
    offsets = pc.subtract(column.offsets, column.offsets[0])
    mask = column.is_null() if column.null_count else None
    return pa.ListArray.from_arrays(offsets, values, type=column.type, mask=mask)


@dataclass(frozen=True, slots=True)
class Texts:
    """All texts of some rows, one after the other.

    Attributes:
        texts: those of row i are texts[starts[i] : starts[i + 1]].
        starts: one number more than rows.
    """

    texts: pa.StringArray
    starts: np.ndarray


def all_texts(batch: pa.RecordBatch) -> Texts:
    """What rows say without their system prompts; of a multiple-choice question as it is put."""
    parts, owners = [], []
    rows = np.arange(batch.num_rows)
    for name in MESSAGE_COLUMNS:
        column = batch.column(name)
        if column.null_count == len(column):
            continue
        starts, roles, contents = flat_messages(column)
        if name == "messages":
            contents = _with_options(batch, starts, contents)
        owner = np.repeat(rows, np.diff(starts))
        said = pc.not_equal(roles, "system")
        if not pc.all(said).as_py():
            contents = contents.filter(said)
            owner = owner[said.to_numpy(zero_copy_only=False)]
        parts.append(contents)
        owners.append(owner)
    if (text := batch.column("text")).null_count < len(text):
        parts.append(text.drop_null())
        owners.append(rows[text.is_valid().to_numpy(zero_copy_only=False)])
    if not parts:
        return Texts(pa.array([], pa.string()), np.zeros(batch.num_rows + 1, np.int64))
    owner = np.concatenate(owners)
    texts = pa.concat_arrays(parts)
    if len(parts) > 1:
        order = np.argsort(owner, kind="stable")
        texts, owner = texts.take(pa.array(order)), owner[order]
    return Texts(texts, np.searchsorted(owner, np.arange(batch.num_rows + 1)))


def _with_options(
    batch: pa.RecordBatch, starts: np.ndarray, contents: pa.StringArray
) -> pa.StringArray:
    options = batch.column("options")
    if options.null_count == len(options):
        return contents
    rows = np.flatnonzero(options.is_valid().to_numpy(zero_copy_only=False))
    answers = starts[rows + 1] - 1  # before it comes the question
    places = np.stack([answers - 1, answers], axis=1).ravel()
    said = contents.take(pa.array(places)).to_pylist()
    texts = []
    for asked, answered, offered in zip(
        said[::2], said[1::2], options.drop_null().to_pylist(), strict=True
    ):
        if answered in offered:
            put, _, right = choice_texts(asked, offered, answered)
        else:  # it has no answer, for which it will be rejected
            put, right = choice_question(asked, offered), answered
        texts += [put, right]
    mask = np.zeros(len(contents), bool)
    mask[places] = True
    return pc.replace_with_mask(contents, pa.array(mask), pa.array(texts, pa.string()))


# What `question` and `answer` need.
SAID_COLUMNS = ["kind", "messages", "options", "text"]


def question(row: dict) -> str | None:
    """What a row asks: the first turn of the user, with the options if there are any.

    Of a text the text itself: a benchmark may be given as plain text.
    """
    if row["kind"] == "text":
        return row["text"]
    first = next((m["content"] for m in row["messages"] or () if m["role"] == "user"), None)
    if first is None or row["kind"] != "choice":
        return first
    return choice_question(first, row["options"])


def questions(batch: pa.RecordBatch) -> list[str | None]:
    """`question` of every row of a batch."""
    column = batch.column("messages")
    kinds = names(batch.column("kind"))
    if kinds.count("chat") < len(kinds):
        return [question(row) for row in batch.select(SAID_COLUMNS).to_pylist()]
    # without the answers, which are long
    starts, roles, contents = flat_messages(column)
    users = np.flatnonzero(pc.equal(roles, "user").to_numpy(zero_copy_only=False))
    users = np.append(users, starts[-1])
    first = users[np.searchsorted(users, starts[:-1])]
    missing = first >= starts[1:]
    first[missing] = 0
    texts = contents.take(pa.array(first)).to_pylist() if len(contents) else [None] * len(kinds)
    for row in np.flatnonzero(missing).tolist():
        texts[row] = None
    return texts


def answer(row: dict) -> str | None:
    """The last message of a row."""
    return row["messages"][-1]["content"] if row["messages"] else None
