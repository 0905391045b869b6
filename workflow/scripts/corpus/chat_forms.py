"""Conversations in the forms that trainers read, made of whole columns.

A JSON line of a conversation is the texts of its messages with fixed pieces in between, and a
piece depends on nothing but the roles of the messages beside it. So the lines of a batch are
joined in Arrow, several times as fast as from one Python object per message.
"""

import string
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from files import flat_messages, read_batches

ROLES = ("system", "user", "assistant", "tool")
# Who may come after whom, None being the start and the end: what shapes/ lets pass.
ORDER = {
    (None, "system"),
    (None, "user"),
    ("system", "user"),
    ("user", "assistant"),
    ("assistant", "user"),
    ("assistant", "tool"),
    ("assistant", None),
    ("tool", "tool"),
    ("tool", "assistant"),
}
CHAT_COLUMNS = ("kind", "split", "messages", "options")
CHAT_KINDS = ("chat", "choice")  # kinds of records that are conversations
# Texts are worked on in portions that stay in the processor's cache.
PORTION = 4 * 2**20

# What stands between two messages of such roles.
Form = Callable[[str | None, str | None], str]

Messages = list[tuple[str, str]]  # role and content


def xtuner(before: str | None, role: str | None) -> str:
    """{"conversation": [{"system"?, "input", "output"}, ...]} as XTuner 0.2 wants it.

    What a tool says is the input of a turn of its own, as what a user says; several tools in a
    row are one input, a line break between them.
    """
    if role == "system":
        return '{"conversation":[{"system":"'
    if role is None:
        return '"}]}\n'
    if role == "assistant":
        return '","output":"'
    starts = {
        None: '{"conversation":[{"input":"',
        "system": '","input":"',
        "assistant": '"},{"input":"',
    }
    return starts.get(before, "\\n")


def openai(before: str | None, role: str | None) -> str:
    """{"messages": [{"role", "content"}, ...]}."""
    if role is None:
        return '"}]}\n'
    start = '"},' if before else '{"messages":['
    return f'{start}{{"role":"{role}","content":"'


def sharegpt(before: str | None, role: str | None) -> str:
    """{"system"?, "conversations": [{"from": "human" | "gpt" | "observation", "value"}, ...]}."""
    if role == "system":
        return '{"system":"'
    if role is None:
        return '"}]}\n'
    speaker = {"user": "human", "assistant": "gpt", "tool": "observation"}[role]
    start = {None: '{"conversations":[', "system": '","conversations":['}.get(before, '"},')
    return f'{start}{{"from":"{speaker}","value":"'


def label(number: int) -> str:
    """The letter of an option; its number where the alphabet ends."""
    letters = string.ascii_uppercase
    return letters[number] if number < len(letters) else str(number + 1)


def choice_texts(question: str, options: Sequence[str], answer: str) -> tuple[str, list[str], str]:
    """How a question with options is put and answered, in training as in the evaluation.

    Returns:
        The question with a line "A. ..." for each option, these options, and the right one.

    >>> choice_texts("1+1=?", ["1", "2"], "2")
    ('1+1=?\\nA. 1\\nB. 2', ['A. 1', 'B. 2'], 'B. 2')
    """
    lines = _labelled(options)
    return choice_question(question, options), lines, lines[options.index(answer)]


def choice_question(question: str, options: Sequence[str]) -> str:
    """How a question with options is put; of a row that is not judged yet there may be no answer.

    >>> choice_question("1+1=?", ["1", "2"])
    '1+1=?\\nA. 1\\nB. 2'
    """
    return "\n".join([question, *_labelled(options)])


def _labelled(options: Sequence[str]) -> list[str]:
    return [f"{label(number)}. {option}" for number, option in enumerate(options)]


def chosen(batch: pa.RecordBatch, split: str, kinds: Sequence[str] = CHAT_KINDS) -> pa.BooleanArray:
    """Which records of a batch are on one side of the split and of certain kinds."""
    side = pc.equal(_texts(batch.column("split")), split)
    return pc.and_(side, pc.is_in(_texts(batch.column("kind")), value_set=pa.array(kinds)))


def conversations(records: Path, split: str, *columns: str) -> Iterator[pa.RecordBatch]:
    """Batches of the conversations on one side, with what `lines` and `messages_of` need.

    Args:
        records: parquet file of the schema files.RECORDS.
        split: "train" or "heldout".
        columns: further ones.
    """
    for batch in read_batches(records, [*CHAT_COLUMNS, *columns]):
        for portion in _portions(batch):
            found = portion.filter(chosen(portion, split))
            if found.num_rows:
                yield found


def of_kind(records: Path, split: str, kind: str, *columns: str) -> Iterator[pa.RecordBatch]:
    """Batches of the records of one kind on one side."""
    for batch in read_batches(records, ["kind", "split", *columns]):
        yield batch.filter(chosen(batch, split, [kind]))


def lines(batch: pa.RecordBatch, form: Form, system: str) -> memoryview:
    """JSON lines of the conversations in a batch.

    Args:
        batch: of `conversations`.
        form: one of this module's.
        system: system prompt of the conversations that have none of their own; "" for none.

    Raises:
        ValueError: a conversation whose messages are not in ORDER.
    """
    starts, roles, contents = _trained(batch)
    outside = len(ROLES)  # stands for None
    own = pc.fill_null(pc.index_in(roles, value_set=pa.array(ROLES)), outside).to_numpy()
    before = np.concatenate([[outside], own[:-1]])
    before[starts[:-1]] = outside
    openings = [
        _opening(form, one, role, system) if (one, role) in ORDER else None
        for one in (*ROLES, None)
        for role in (*ROLES, None)
    ]
    last = starts[1:] - 1
    after = np.full(len(own), len(ROLES))
    after[last] = own[last]
    endings = [form(role, None) if (role, None) in ORDER else None for role in ROLES]
    joined = pc.binary_join_element_wise(
        pa.array(openings).take(pa.array(before * (len(ROLES) + 1) + own)),
        _escape(contents),
        pa.array([*endings, ""]).take(pa.array(after)),
        "",
    )
    if joined.null_count:
        place = np.flatnonzero(joined.is_null().to_numpy(zero_copy_only=False))[0]
        row = int(np.searchsorted(starts, place, side="right")) - 1
        order = roles.slice(starts[row], starts[row + 1] - starts[row]).to_pylist()
        raise ValueError(f"not the messages of a conversation: {', '.join(map(str, order))}")
    return _data(joined)


def _opening(form: Form, before: str | None, role: str, system: str) -> str:
    if before is None and role != "system" and system:
        return form(None, "system") + orjson.dumps(system).decode()[1:-1] + form("system", role)
    return form(before, role)


def messages_of(batch: pa.RecordBatch) -> list[Messages]:
    """The messages of each conversation in a batch, as they are trained on."""
    starts, roles, contents = _trained(batch)
    flat = list(zip(roles.to_pylist(), contents.to_pylist(), strict=True))
    return [flat[start:end] for start, end in pairwise(starts.tolist())]


def turns(messages: Messages) -> list[tuple[str, str]]:
    """Input and output of each turn, as `xtuner` writes them.

    >>> turns([("user", "a"), ("assistant", "b"), ("tool", "c"), ("tool", "d"), ("assistant", "e")])
    [('a', 'b'), ('c\\nd', 'e')]
    """
    found: list[tuple[str, str]] = []
    inputs: list[str] = []
    for role, content in messages:
        if role == "assistant":
            found.append(("\n".join(inputs), content))
            inputs = []
        elif role != "system":
            inputs.append(content)
    return found


def _trained(batch: pa.RecordBatch) -> tuple[np.ndarray, pa.StringArray, pa.StringArray]:
    """files.flat_messages, with the options in the messages of multiple-choice questions."""
    starts, roles, contents = flat_messages(batch.column("messages"))
    choice = pc.equal(_texts(batch.column("kind")), "choice").to_numpy(zero_copy_only=False)
    if choice.any():
        answers = starts[1:][choice] - 1  # the last message of each; before it comes the question
        places = np.stack([answers - 1, answers], axis=1).ravel()
        said = contents.take(pa.array(places)).to_pylist()
        options = batch.column("options").filter(pa.array(choice)).to_pylist()
        texts = []
        for question, answer, offered in zip(said[::2], said[1::2], options, strict=True):
            put, _, right = choice_texts(question, offered, answer)
            texts += [put, right]
        mask = np.zeros(len(contents), bool)
        mask[places] = True
        contents = pc.replace_with_mask(contents, pa.array(mask), pa.array(texts))
    return starts, roles, contents


def _portions(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A batch in parts of about PORTION bytes of messages."""
    column = batch.column("messages")
    starts, _, contents = flat_messages(column)
    ends = np.frombuffer(contents.buffers()[1], np.int32)[contents.offset :]
    # how many portions begin before each row
    portion = (ends[starts].astype(np.int64) - int(ends[0])) // PORTION
    first = np.flatnonzero(np.diff(portion[:-1], prepend=-1)).tolist()
    for start, end in pairwise([*first, batch.num_rows]):
        yield batch.slice(start, end - start)


def _escape(texts: pa.StringArray) -> pa.StringArray:
    """Texts as JSON writes them between quotation marks, byte for byte as orjson does."""
    data = np.frombuffer(_data(texts), np.uint8)
    special = data < 0x20
    special |= data == ord('"')
    special |= data == ord("\\")
    found = map(chr, np.flatnonzero(np.bincount(data[special])).tolist())
    for character in sorted(found, key="\\".__ne__):  # the backslash first: the others bring some
        escaped = orjson.dumps(character).decode()[1:-1]
        texts = pc.replace_substring(texts, pattern=character, replacement=escaped)
    return texts


def _texts(column: pa.Array) -> pa.StringArray:
    """A column of names as texts."""
    return column.cast(pa.string())


def _data(texts: pa.StringArray) -> memoryview:
    """All texts of an array, one right after the other, in UTF-8."""
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset :]
    data = texts.buffers()[2]
    return memoryview(data if data is not None else b"")[offsets[0] : offsets[len(texts)]]
