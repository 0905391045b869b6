"""Conversations as lists: of messages with a role, or of pairs of question and answer.

A list is told by its first element: {role, content} (OpenAI), {from, value} (ShareGPT, ms-agent),
{system?, input, output} (XTuner), {human, assistant} and the like. Nothing is merged, moved or left
out to make a list fit: a conversation that begins with an answer, has two turns of one side in a
row, or ends with a question has lost or never had a turn, and which one only a person can say. It
is rejected, and the detail names the turn.
"""

import re
from collections.abc import Callable

from .content import Messages, is_blank, kind_of, malformed, parsed, plain, text_of

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "bot": "assistant",
    # what the model writes to have a tool run, and what the tool then says
    "function_call": "assistant",
    "tool_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
    "tool_response": "tool",
}
ROLE_KEYS, CONTENT_KEYS = ("role", "from"), ("content", "value")
# Names of the two sides where an element holds both.
PAIR_KEYS = (
    ("input", "output"),
    ("human", "assistant"),
    ("user", "assistant"),
    ("question", "answer"),
    ("query", "response"),
)
# Of these an answer says that it is not to be learnt, or is more than a text: training on the text
# alone would teach something else. A value that changes nothing is listed.
CHANGES_MEANING: dict[str, tuple] = {
    "tool_calls": (),
    "function_call": (),
    "audio": (),
    "images": (),
    "refusal": (),
    "weight": (1,),
    "loss": (True, "true", "True"),
    "output_with_loss": (True, "true", "True"),
    "need_eos_token": (True,),
}
# ms-agent writes the answer of a plugin into the assistant's turn.
PLUGIN_RESULT = re.compile(r"<\|startofexec\|>(.*?)<\|endofexec\|>", re.DOTALL)

Extras = list[dict]
# Adds the messages of an element, whose number is given for errors; returns what else it holds.
ElementReader = Callable[[dict, int, Messages], dict]


def read_turns(value: object, name: str) -> tuple[Messages, Extras]:
    """Messages of a list in any of the forms, in the order of the list and not checked further.

    Returns:
        The messages, and for each element what else it holds; [] where none holds anything.

    Raises:
        ShapeError: the field `name` holds no such list, or an element that a text cannot stand for.
    """
    value = parsed(value)
    if not isinstance(value, list):
        raise malformed(f"the field {name!r} holds {kind_of(value)}, not a list of turns")
    if not value:
        raise malformed(f"the list in the field {name!r} is empty")
    read = _reader_of(value[0], name)
    messages: Messages = []
    extras: Extras = []
    for number, element in enumerate(value, start=1):
        if type(element) is not dict:
            raise malformed(f"turn {number} of {name!r} is {kind_of(element)}, not an object")
        extras.append(read(element, number, messages))
    return messages, extras if any(extras) else []


def check_chat(messages: Messages, name: str) -> Messages:
    """The messages without an empty system message, if they are a whole conversation.

    Raises:
        ShapeError: the turns do not follow each other as question and answer, or the last one
            is no answer.
    """
    messages = _in_order(messages, name)
    if messages[-1][0] != "assistant":
        raise malformed(
            f"{name!r} ends with a turn of the {messages[-1][0]}, for which there is no answer"
        )
    return messages


def check_prompt(messages: Messages, name: str) -> Messages:
    """The messages without an empty system message, if an answer can follow them.

    Raises:
        ShapeError: the turns do not follow each other, or the last one is no question.
    """
    messages = _in_order(messages, name)
    if messages[-1][0] != "user":
        raise malformed(f"{name!r} ends with a turn of the {messages[-1][0]}, not of the user")
    return messages


# Who may speak after whom. A tool is run by the assistant, who then answers; it may run several.
FOLLOWS = {
    "start": ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}


def _in_order(messages: Messages, name: str) -> Messages:
    if messages[0][0] == "system" and is_blank(messages[0][1]):
        messages = messages[1:]
        if not messages:
            raise malformed(f"{name!r} has no turn beside an empty system message")
    before = "start"
    for role, _ in messages:
        if role not in FOLLOWS[before]:
            # counted only where it is needed
            number = next(
                number
                for number, (role, _) in enumerate(messages)
                if role not in FOLLOWS[messages[number - 1][0] if number else "start"]
            )
            where = f"turn {number + 1} of {name!r} is of the {role}"
            if before == "start":
                raise malformed(f"{where}: a conversation begins with the user")
            raise malformed(f"{where} and follows one of the {before}: a turn is missing or extra")
        before = role
    return messages


def role_of(value: object, where: str) -> str:
    """The role by any of its names.

    Raises:
        ShapeError: the name is not known.
    """
    role = ROLES.get(value) if isinstance(value, str) else None
    if role is None and isinstance(value, str):
        role = ROLES.get(value.strip().lower())
    if role is None:
        raise malformed(
            f"{where} has the unknown role {plain(value)!r}; known are {', '.join(ROLES)}"
        )
    return role


def _reader_of(element: object, name: str) -> ElementReader:
    if not isinstance(element, dict):
        raise malformed(f"turn 1 of {name!r} is {kind_of(element)}, not an object")
    role = next((key for key in ROLE_KEYS if key in element), None)
    content = next((key for key in CONTENT_KEYS if key in element), None)
    if role and (content or "tool_calls" in element or "function_call" in element):
        return _message_reader(role, content or "content", name)
    for question, answer in PAIR_KEYS:
        if question in element and answer in element:
            return _pair_reader(question, answer, name)
    raise malformed(
        f"turn 1 of {name!r} has the fields {', '.join(map(str, element)) or 'none'}; known are "
        "role and content, from and value, input and output"
    )


def _message_reader(role_key: str, content_key: str, name: str) -> ElementReader:
    def read(element: dict, number: int, messages: Messages) -> dict:
        called, content = element.get(role_key), element.get(content_key)
        if len(element) == 2 and type(called) is str and type(content) is str:
            role = ROLES.get(called)
            if role and (role != "assistant" or "<|startofexec|>" not in content):
                messages.append((role, content))
                return {}
        return read_any(element, f"turn {number} of {name!r}", messages)

    def read_any(element: dict, where: str, messages: Messages) -> dict:
        extra = _extras(element, (role_key, content_key), where)
        for key in (role_key, content_key):
            if key not in element:
                raise malformed(f"{where} has no {key!r}")
        role = role_of(element[role_key], where)
        content = _content_text(element[content_key], f"{content_key!r} of {where}")
        if role == "assistant" and "<|startofexec|>" in content:
            _split_plugin_results(content, messages)
        else:
            messages.append((role, content))
        return extra

    return read


def _pair_reader(question_key: str, answer_key: str, name: str) -> ElementReader:
    def read(element: dict, number: int, messages: Messages) -> dict:
        question, answer = element.get(question_key), element.get(answer_key)
        if len(element) == 2 and type(question) is str and type(answer) is str:
            messages += ("user", question), ("assistant", answer)
            return {}
        return read_any(element, f"turn {number} of {name!r}", messages)

    def read_any(element: dict, where: str, messages: Messages) -> dict:
        for key in (question_key, answer_key):
            if key not in element:
                raise malformed(f"{where} has no {key!r}")
        extra = _extras(element, (question_key, answer_key, "system"), where)
        system = text_of(element.get("system"), f"system of {where}")
        if not messages:
            if not is_blank(system):
                messages.append(("system", system))
        elif not is_blank(system) and ("system", system) != messages[0]:
            raise malformed(f"{where} has another system message than the first turn")
        messages.append(("user", text_of(element[question_key], f"{question_key} of {where}")))
        messages.append(("assistant", text_of(element[answer_key], f"{answer_key} of {where}")))
        return extra

    return read


def _extras(element: dict, used: tuple[str, ...], where: str) -> dict:
    extra = {}
    for key, item in element.items():
        if key in used or item is None or item in ("", [], {}):
            continue
        harmless = CHANGES_MEANING.get(key)
        if harmless is None:
            extra[key] = plain(item)
        elif item not in harmless:
            raise malformed(
                f"{where} has {key!r}: {str(plain(item))[:80]}, which a text cannot stand for"
            )
    return extra


def _content_text(content: object, where: str) -> str:
    """Text of a content; OpenAI's may be a list of parts, of which only texts can be kept."""
    if not isinstance(content, list):
        return text_of(content, where)
    texts = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            kind = part.get("type") if isinstance(part, dict) else kind_of(part)
            raise malformed(f"{where} has a part that is no text ({plain(kind)})")
    return "".join(texts)


def _split_plugin_results(content: str, messages: Messages) -> None:
    """The turns of an answer in which plugins were called: call, result, ..., final answer."""
    parts = PLUGIN_RESULT.split(content)
    for index, part in enumerate(parts):
        messages.append(("tool" if index % 2 else "assistant", part.strip()))


def history_of(value: object, name: str) -> Messages:
    """Earlier turns: a list of [question, answer], or a list of turns in any form.

    Raises:
        ShapeError: the field `name` holds something else.
    """
    value = parsed(value)
    if is_blank(value):
        return []
    if not isinstance(value, list):
        raise malformed(f"the field {name!r} holds {kind_of(value)}, not a list of earlier turns")
    if isinstance(value[0], dict):
        return read_turns(value, name)[0]
    messages: Messages = []
    for number, pair in enumerate(value, start=1):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise malformed(f"item {number} of {name!r} is no pair of question and answer")
        where = f"{name}, item {number}"
        messages += ("user", text_of(pair[0], where)), ("assistant", text_of(pair[1], where))
    return messages
