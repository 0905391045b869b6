"""Conversations of MOSS: turns by number, each part between marks of its own; or all as one text.

    {"meta_instruction": "...", "num_turns": 1, "chat": {"turn_1": {
        "Human": "<|Human|>: ...<eoh>\\n", "Inner Thoughts": "<|Inner Thoughts|>: None<eot>\\n",
        "Commands": "<|Commands|>: Search(\\"...\\")<eoc>\\n",
        "Tool Responses": "<|Results|>: ...<eor>\\n", "MOSS": "<|MOSS|>: ...<eom>\\n"}}}
    {"prefix": "...", "num_turns": 1, "plain_text": "[Human]: ...<eoh> [MOSS]: ...<eoa>"}

A command becomes a turn of the assistant, its result one of the tool. Inner thoughts are no part
of what the assistant says: they stay in meta.
"""

import re

from .content import Messages, is_blank, kind_of, malformed, text_of

MARKS = r"(?:<\|(?:{0})\|>|\[(?:{0})\])\s*[:：]"
PARTS = {
    "Human": "Human",
    "Inner Thoughts": "Inner Thoughts",
    "Commands": "Commands",
    "Tool Responses": "Results",
    "MOSS": "MOSS",
}
BEGINNINGS = {part: re.compile(MARKS.format(mark)) for part, mark in PARTS.items()}
ANY_BEGINNING = re.compile(f"({MARKS.format('|'.join(PARTS.values()))})")
END = re.compile(r"<eo[a-z]>\s*$")


def read_chat(chat: object, name: str, turns: object) -> tuple[Messages, dict[str, str]]:
    """Messages of the numbered turns in `chat`, and the inner thoughts by turn.

    Args:
        chat: the field of the row, and `name`, its name.
        turns: the number of turns that the row states, None where it states none.

    Raises:
        ShapeError: a turn or one of its parts is missing or of the wrong type.
    """
    if not isinstance(chat, dict) or not chat:
        raise malformed(f"the field {name!r} holds {kind_of(chat)}, not an object of turns")
    _check_count(len(chat), turns, name)
    messages: Messages = []
    thoughts: dict[str, str] = {}
    for number in range(1, len(chat) + 1):
        turn = f"turn_{number}"
        where = f"{turn} of {name!r}"
        parts = chat.get(turn)
        if not isinstance(parts, dict):
            raise malformed(f"{where} is {kind_of(parts)}, not an object")
        if unknown := [str(part) for part in parts if part not in PARTS]:
            raise malformed(f"{where} has the unknown parts {', '.join(unknown)}")
        if missing := [part for part in ("Human", "MOSS") if part not in parts]:
            raise malformed(f"{where} has no {missing[0]!r}")
        texts = {part: _between_marks(part, parts.get(part), where) for part in PARTS}
        messages.append(("user", texts["Human"]))
        if _said(texts["Commands"]):
            messages += ("assistant", texts["Commands"]), ("tool", texts["Tool Responses"])
        elif _said(texts["Tool Responses"]):
            raise malformed(f"{where} has a result of a tool, but no command")
        messages.append(("assistant", texts["MOSS"]))
        if _said(texts["Inner Thoughts"]):
            thoughts[turn] = texts["Inner Thoughts"]
    return messages, thoughts


def read_plain_text(text: object, name: str, turns: object) -> Messages:
    """Messages of a conversation in one text, told apart by their marks.

    Raises:
        ShapeError: the text has no marks, text before the first, or marks that are not of the
            two sides.
    """
    parts = ANY_BEGINNING.split(text_of(text, name))
    if len(parts) == 1:
        raise malformed(
            f"the field {name!r} holds a text without marks such as '[Human]:' and '[MOSS]:'"
        )
    if not is_blank(parts[0]):
        raise malformed(f"the text in {name!r} does not begin with a mark such as '[Human]:'")
    messages: Messages = []
    for mark, said in zip(parts[1::2], parts[2::2], strict=True):
        who = mark.strip("<|>[]:： ")
        if who not in ("Human", "MOSS"):
            raise malformed(
                f"the text in {name!r} has the mark {mark!r}; only a `chat` can have it"
            )
        role = "user" if who == "Human" else "assistant"
        messages.append((role, END.sub("", said).strip()))
    _check_count(sum(role == "user" for role, _ in messages), turns, name)
    return messages


def _check_count(found: int, stated: object, name: str) -> None:
    if not is_blank(stated) and str(stated).strip() != str(found):
        raise malformed(f"{name!r} has {found} turns, but num_turns is {stated}")


def _between_marks(part: str, value: object, where: str) -> str:
    text = text_of(value, f"{part} of {where}").strip()
    if mark := BEGINNINGS[part].match(text):
        text = text[mark.end() :]
    return END.sub("", text).strip()


def _said(text: str) -> bool:
    return text not in ("", "None")
