"""How a model is measured, by whatever it is run: the prompts, the repetitions, the GPU's name."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

REPETITIONS = 5
# A large model is measured fewer times: no further repetition is begun after so many seconds.
PATIENCE = 20.0
PROMPT_TOKENS = 512
NEW_TOKENS = 32


def repeated(measure: Callable[[int], float]) -> list[float]:
    """measure(0), measure(1), ...: REPETITIONS values, or fewer where that takes too long."""
    values, end = [], time.monotonic() + PATIENCE
    while not values or (len(values) < REPETITIONS and time.monotonic() < end):
        values.append(measure(len(values)))
    return values


def prompts_of(tokenizer, conversations: Path, context: int) -> tuple[list[int], list[list[int]]]:
    """Token ids of a long prompt, and of one question of each of the first conversations.

    Args:
        tokenizer: of transformers, with a chat template.
        conversations: JSON lines with "messages".
        context: as many tokens fit into the model.
    """
    lines = conversations.read_text(encoding="utf-8").splitlines()
    found = [json.loads(line)["messages"] for line in lines]
    # LMDeploy's engine writes one more token, and leaves the last one of its context free
    room = context - NEW_TOKENS - 2
    questions = [
        tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True)[-room:]
        for messages in found[:REPETITIONS]
    ]
    long_prompt = []
    for messages in found:
        long_prompt += tokenizer.apply_chat_template(messages)
    return long_prompt[: min(PROMPT_TOKENS, room)], questions


def gpu() -> str:
    """Name and memory of the GPU that is measured."""
    properties = torch.cuda.get_device_properties(0)
    return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
