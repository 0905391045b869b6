"""Calibration windows for AWQ, cut from the domain's own training conversations.

AWQ needs to know how large the activations of each channel become on text like the text the
model will see. Here that is the conversations it was tuned on, rendered with the chat template
that will be used to serve it.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any


def read_conversations(path: Path) -> list[list[dict[str, str]]]:
    """Read JSON lines ``{"messages": [{"role", "content"}, ...]}``; exits on a malformed line."""
    conversations = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                messages = json.loads(line)["messages"]
                conversations.append(
                    [{"role": m["role"], "content": m["content"]} for m in messages]
                )
            except (ValueError, KeyError, TypeError) as error:
                sys.exit(
                    f"calibration: {path}, line {number}: not a conversation ({error!r}). "
                    'Each line must be {"messages": [{"role": ..., "content": ...}, ...]}.'
                )
    if not conversations:
        sys.exit(f"calibration: {path} holds no conversation. Raise corpus.split.calibration.")
    return conversations


def encode_conversation(messages: list[dict[str, str]], tokenizer: Any) -> list[int]:
    """Token ids of one conversation, as in training: chat template, one BOS at the start.

    Some templates write the BOS themselves, others leave it to the tokenizer; adding it twice
    would calibrate on a sequence the model never sees.
    """
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    has_bos = bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)
    return list(tokenizer(text, add_special_tokens=not has_bos)["input_ids"])


def cut_windows(ids: list[int], samples: int, length: int, seed: int) -> list[list[int]]:
    """`samples` windows of `length` ids at seeded random places of `ids`.

    The same cutting as in lmdeploy's own loaders (lmdeploy/lite/utils/calib_dataloader.py), except
    that a text shorter than one window gives one window of the whole text (a repeated window would
    not change the maxima that AWQ reads).
    """
    if samples < 1 or length < 1:
        raise ValueError(f"samples and length must be positive, got {samples} and {length}")
    if len(ids) <= length:
        return [list(ids)]
    generator = random.Random(seed)
    starts = [generator.randint(0, len(ids) - length) for _ in range(samples)]
    return [ids[start : start + length] for start in starts]


def calibration_windows(
    path: Path, tokenizer: Any, *, samples: int, length: int, seed: int
) -> list[list[int]]:
    """Windows of token ids for AWQ from a file of conversations; says what they cover."""
    if not getattr(tokenizer, "chat_template", None):
        sys.exit(
            "calibration: the model's tokenizer has no chat template, so its training prompts "
            "cannot be rebuilt. Add `chat_template` to its tokenizer_config.json."
        )
    conversations = read_conversations(path)
    ids = [
        token for messages in conversations for token in encode_conversation(messages, tokenizer)
    ]
    windows = cut_windows(ids, samples, length, seed)
    if len(ids) < length:
        print(
            f"calibration: WARNING: the text has only {len(ids)} tokens, fewer than one window of "
            f"{length}; using one window of {len(ids)}. Raise corpus.split.calibration for more.",
            flush=True,
        )
    print(
        f"calibration: {len(conversations)} conversations, {len(ids)} tokens -> {len(windows)} "
        f"windows of {len(windows[0])} tokens (seed {seed})",
        flush=True,
    )
    return windows
