"""The prompts of reinforcement learning, out of a file of preference pairs."""

import json
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

Messages = list[dict[str, str]]


def distinct_prompts(pairs: Path) -> list[Messages]:
    """The prompts of xtuner_preference.jsonl, each one once, in the order of the file."""
    found = {}
    with pairs.open(encoding="utf-8") as file:
        for line in file:
            prompt = json.loads(line)["prompt"]
            found.setdefault(json.dumps(prompt, sort_keys=True), prompt)
    return list(found.values())


def short_prompts(
    prompts: list[Messages], tokenizer: PreTrainedTokenizerBase, limit: int
) -> list[Messages]:
    """The prompts of at most `limit` tokens, the opening of the assistant's turn included."""
    return [
        prompt
        for prompt in prompts
        if len(tokenizer.apply_chat_template(prompt, add_generation_prompt=True)) <= limit
    ]


def problem(found: int, left_out: int, training: dict) -> str | None:
    """Why a training must not start, None if it may.

    Args:
        found: number of prompts.
        left_out: how many of them are too long.
        training: the stage's settings; `max_length`, `max_new_tokens` and `max_truncated` are read.
    """
    limit = training["max_length"] - training["max_new_tokens"]
    if not found:
        return "there is no prompt: corpus.sources must give preference pairs."
    if left_out > training["max_truncated"] * found or left_out == found:
        return (
            f"{left_out} of {found} prompts ({left_out / found:.1%}) are longer than {limit} "
            f"tokens: of max_length {training['max_length']}, max_new_tokens "
            f"{training['max_new_tokens']} are for the answer. {training['max_truncated']:.1%} of "
            "the prompts may be left out (max_truncated). Raise runs.RUN.training.max_length, or "
            "lower max_new_tokens, or allow a larger share to be left out."
        )
    return None


def order(prompts: int, length: int, seed: int) -> list[int]:
    """Numbers of the prompts of a whole training: every prompt once, in random order, then again.

    Made beforehand, a training that goes on needs to know no more than how far it has come, and
    no prompt is lost to a batch that is not full.

    Args:
        prompts: how many there are.
        length: how many are asked.
        seed: of the random order.
    """
    generator = torch.Generator().manual_seed(seed)
    rounds = -(-length // prompts)
    numbers = torch.cat([torch.randperm(prompts, generator=generator) for _ in range(rounds)])
    return numbers[:length].tolist()
