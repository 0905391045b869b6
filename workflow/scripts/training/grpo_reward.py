"""Scores answers with a reward model that XTuner has trained."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

Messages = list[dict[str, str]]


class RewardModelError(Exception):
    """A reward model cannot be used; the text says why."""


class RewardModel:
    """A reward model, read from the folder that the stage `reward` writes."""

    def __init__(self, folder: Path, trusted: bool, device: str, dtype: torch.dtype):
        """Load the model and its tokenizer.

        Args:
            folder: a sequence classification model with one label and its tokenizer, of Hugging
                Face; `reward_token_id` in config.json is the token that XTuner puts last.
            trusted: whether code in the folder may be run.
            device: "cpu" or "cuda".
            dtype: number format of the weights.

        Raises:
            RewardModelError: something is missing in the folder.
        """
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trusted)
        self._reward_token = getattr(config, "reward_token_id", None)
        self._pad_token = config.pad_token_id
        if None in (self._reward_token, self._pad_token) or self._reward_token == self._pad_token:
            # transformers takes the score at the last token that is not padding
            raise RewardModelError(
                f"{folder}/config.json needs a reward_token_id, and another pad_token_id."
            )
        self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trusted)
        if not self._tokenizer.chat_template:
            raise RewardModelError(f"the tokenizer in {folder} has no chat template.")
        known = "ForSequenceClassification" in config.architectures[0]
        # InternLM2's class is of its own
        kind = AutoModelForSequenceClassification if known else AutoModel
        model, loaded = kind.from_pretrained(
            folder, trust_remote_code=trusted, dtype=dtype, output_loading_info=True
        )
        if loaded["missing_keys"]:
            # transformers would go on with random numbers
            missing = ", ".join(sorted(loaded["missing_keys"]))
            raise RewardModelError(f"{folder} lacks the weights {missing}.")
        if known and config.num_labels != 1:
            raise RewardModelError(
                f"{folder} gives {config.num_labels} scores; a reward model gives one."
            )
        self._model = model.to(device).eval()

    def tokens(self, conversation: Messages) -> list[int]:
        """The tokens to score, as `xtuner/dataset/preference_dataset.py` makes them.

        Args:
            conversation: a prompt and the answer to it.
        """
        text = self._tokenizer.apply_chat_template(conversation, tokenize=False)
        return [*self._tokenizer.encode(text, add_special_tokens=False), self._reward_token]

    @torch.no_grad()
    def score(self, conversations: Sequence[Messages], batch_size: int) -> list[float]:
        """The reward of each conversation's last answer.

        Args:
            conversations: prompts with their answers.
            batch_size: so many are computed at a time.

        Raises:
            RewardModelError: a reward is not a number, which trl would pass over.
        """
        rows = [torch.tensor(self.tokens(conversation)) for conversation in conversations]
        scores = []
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            ids = torch.nn.utils.rnn.pad_sequence(
                batch, batch_first=True, padding_value=self._pad_token
            )
            lengths = torch.tensor([len(row) for row in batch])
            mask = torch.arange(ids.shape[1]) < lengths[:, None]
            device = self._model.device
            output = self._model(
                input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
            )
            scores += output.logits[:, 0].float().tolist()
        if not all(map(math.isfinite, scores)):
            raise RewardModelError(
                "the reward model gives scores that are not numbers: it is damaged, or fp16 is too "
                "small for it (runs.RUN.training.precision)."
            )
        return scores
