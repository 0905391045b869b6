"""Preference: a prompt with a better and a worse answer to it."""

import re

from .content import Content, Messages, is_blank, kind_of, malformed, parsed, text_of
from .turns import check_prompt, read_turns

# Conversations in one text, as Anthropic's HH-RLHF has them.
TRANSCRIPT = re.compile(r"(?:^|\n\n)(Human|Assistant):")


def preference(prompt: Messages, prompt_name: str, sides: dict[str, object], meta: dict) -> Content:
    """Content of a row with a prompt, which may be empty, and two answers.

    The answers may repeat the prompt, or hold it alone: what both begin with, up to the last
    question they share, is the prompt.

    Args:
        prompt: messages of the prompt, [] where the row has none beside the answers.
        prompt_name: the field that it comes from.
        sides: the two answers by field name, the better one first: a text, a message or a list.
        meta: further fields.

    Raises:
        ShapeError: an answer is of the wrong type, does not belong to the prompt, or both are the
            same.
    """
    (chosen_name, rejected_name), values = sides, sides.values()
    chosen, rejected = (_answer(value, name) for name, value in zip(sides, values, strict=True))
    begins = {side[0][0] == "assistant" for side in (chosen, rejected)}
    if len(begins) == 2:
        raise malformed(f"{chosen_name!r} and {rejected_name!r} do not begin in the same way")
    if False in begins:
        prompt, shared = _shared(prompt, chosen, rejected, f"{chosen_name} and {rejected_name}")
        chosen, rejected = chosen[shared:], rejected[shared:]
    if not prompt:
        raise malformed(f"has no prompt beside {chosen_name!r} and {rejected_name!r}")
    prompt = check_prompt(prompt, prompt_name or chosen_name)
    for name, side in ((chosen_name, chosen), (rejected_name, rejected)):
        # the answer has to fit behind the prompt as a conversation
        roles = [role for role, _ in side]
        if roles != ["assistant", "user"] * (len(side) // 2) + ["assistant"]:
            raise malformed(f"{name!r} goes on with turns of {', '.join(roles) or 'nobody'}")
    if _same(chosen, rejected) and not all(is_blank(text) for _, text in chosen):
        raise malformed(f"{chosen_name!r} and {rejected_name!r} are the same")
    return Content("preference", prompt, chosen, rejected, meta=meta)


def _answer(value: object, name: str) -> Messages:
    turns = parsed(value)
    if isinstance(value, dict):
        turns = value = [value]
    # an answer may be a text that reads "[1, 2]"
    if isinstance(turns, list) and (turns is value or _has_roles(turns)):
        return read_turns(turns, name)[0]
    if value is not None and not isinstance(value, str | int | float):
        raise malformed(f"the field {name!r} holds {kind_of(value)}, not an answer")
    text = text_of(value, name)
    parts = TRANSCRIPT.split(text)
    if len(parts) > 3 and not parts[0].strip() and parts[1] == "Human":
        roles = ("user" if who == "Human" else "assistant" for who in parts[1::2])
        return [(role, said.strip()) for role, said in zip(roles, parts[2::2], strict=True)]
    return [("assistant", text)]


def _has_roles(turns: list) -> bool:
    return bool(turns) and all(isinstance(t, dict) and ("role" in t or "from" in t) for t in turns)


def _shared(
    prompt: Messages, chosen: Messages, rejected: Messages, names: str
) -> tuple[Messages, int]:
    """The prompt that both answers begin with, and how many messages it has there."""
    shared = 0
    for one, other in zip(chosen[:-1], rejected[:-1], strict=False):
        if one != other:
            break
        shared += 1
    while shared and chosen[shared - 1][0] != "user":
        shared -= 1
    if not shared:
        raise malformed(f"{names} begin with different questions")
    repeated = chosen[:shared]
    given = [message for message in prompt if message[0] != "system"]
    if len(given) == 1 and is_blank(given[0][1]):  # a field for the prompt that is not used
        given = []
    bare = [message for message in repeated if message[0] != "system"]
    if not _same(bare[: len(given)], given):
        raise malformed(f"{names} do not begin with the prompt of the row")
    systems = {text for role, text in prompt + repeated if role == "system" and not is_blank(text)}
    if len(systems) > 1:
        raise malformed(f"{names} have another system message than the prompt of the row")
    return [("system", text) for text in systems] + bare, shared


def _same(one: Messages, other: Messages) -> bool:
    """Whether messages are equal but for white space at their ends."""
    return [(r, t.strip()) for r, t in one] == [(r, t.strip()) for r, t in other]
