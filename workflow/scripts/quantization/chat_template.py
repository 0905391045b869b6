"""A tokenizer's chat template in the terms of lmdeploy's `ChatTemplateConfig` (0.7.3, model.py).

lmdeploy builds a prompt as ``system TEXT eosys user TEXT eoh assistant TEXT eoa ...``. The pieces
are read off what the tokenizer's own template writes around marker texts, and the result is only
used if lmdeploy then gives the very same prompt.
"""

from __future__ import annotations

from typing import Any

MARKERS = ("MARKERA", "MARKERB", "MARKERC")


class TemplateNotExpressible(Exception):
    """The tokenizer's template does more than put fixed text around each message."""


def conversation(*texts: str) -> list[dict[str, str]]:
    """Alternating user and assistant messages."""
    return [
        {"role": ("user", "assistant")[turn % 2], "content": text}
        for turn, text in enumerate(texts)
    ]


def render(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    """The prompt as text, without the BOS that tokenizer or engine put before it."""
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text.removeprefix(tokenizer.bos_token or "")


def system_wrapper(tokenizer: Any, user: str) -> tuple[str, str] | None:
    """What the template writes before and after a system message; None if it takes none."""
    system, question = MARKERS[:2]
    messages = [{"role": "system", "content": system}, *conversation(question)]
    try:
        before, found, rest = render(tokenizer, messages).partition(system)
    except Exception:  # templates raise errors of their own for roles they do not know
        return None
    between, found_question, _ = rest.partition(question)
    if not (found and found_question and between.endswith(user)):
        return None
    return before, between.removesuffix(user)


def describe_template(tokenizer: Any) -> dict[str, Any]:
    """Content of a file for lmdeploy's ``--chat-template``.

    lmdeploy writes the system pieces into *every* conversation, so they are only given when the
    tokenizer's template does so too, with a default system prompt (`meta_instruction`).

    Raises `TemplateNotExpressible` when lmdeploy cannot give the tokenizer's prompt.
    """
    from lmdeploy.model import BaseChatTemplate

    text = render(tokenizer, conversation(*MARKERS))
    pieces = []
    for marker in MARKERS:
        before, found, text = text.partition(marker)
        if not found:
            raise TemplateNotExpressible("the chat template changes the text of a message")
        pieces.append(before)
    first, answer, between = pieces
    if answer != text:
        raise TemplateNotExpressible("the chat template treats the last question differently")
    # `between` = end of an answer + start of the next question; `first` may have a preamble.
    user = common_ending(first, between)
    preamble, end = first.removesuffix(user), between.removesuffix(user)
    template: dict[str, Any] = {"user": user, "assistant": answer, "eoa": end}
    wrapper = system_wrapper(tokenizer, user)
    checks = [conversation(*texts) for texts in (["甲"], ["甲", "乙", "丙\n丁", "戊", "己"])]
    if preamble and wrapper and preamble.startswith(wrapper[0]) and preamble.endswith(wrapper[1]):
        template["system"], template["eosys"] = wrapper
        default = preamble.removeprefix(wrapper[0]).removesuffix(wrapper[1])
        template["meta_instruction"] = default
        checks.append([{"role": "system", "content": "戊"}, *conversation("甲")])
    elif preamble:
        template["system"] = preamble
    ours = BaseChatTemplate(**template)
    for messages in checks:
        if ours.messages2prompt(messages) != render(tokenizer, messages):
            raise TemplateNotExpressible("lmdeploy's prompt would differ from the tokenizer's")
    stop = end.strip()
    if stop and len(tokenizer(stop, add_special_tokens=False)["input_ids"]) == 1:
        # lmdeploy stops at single tokens only
        template["stop_words"] = [stop]
    # a name that is not built in makes lmdeploy use BaseChatTemplate
    return {"model_name": "merged-model", **template}


def common_ending(left: str, right: str) -> str:
    """Longest string that both end with."""
    length = 0
    while length < min(len(left), len(right)) and left[-1 - length] == right[-1 - length]:
        length += 1
    return left[len(left) - length :]
