"""The one model class that serves every variant and every benchmark."""

import inspect
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from opencompass.models.huggingface_above_v4_33 import (
    HuggingFacewithChatTemplate,
    _convert_chat_messages,
    _set_model_kwargs_torch_dtype,
)
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DynamicCache,
    GenerationConfig,
    PreTrainedModel,
)

sys.path.insert(0, str(Path(__file__).parents[3] / "quantization"))


class OptionScore(NamedTuple):
    """Natural log-likelihood of an option's text, and of the end of the turn right after it."""

    text: float
    end: float


class ChatModel(HuggingFacewithChatTemplate):
    """OpenCompass' chat model with what a fair comparison of variants needs.

    Generation is OpenCompass' own. Added: the likelihood of given answers after the very same
    prompt; one generation setting whatever the model folder's generation_config.json says (a
    repetition penalty in it would apply to one variant and not to another); errors where
    OpenCompass or transformers would carry on: missing weights, a prompt that must be truncated;
    and AWQ weights on a CPU, which transformers does not run.
    """

    def _load_tokenizer(
        self, path: str, kwargs: dict[str, Any], pad_token_id: int | None = None
    ) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(
            path, padding_side="left", truncation_side="left", **kwargs
        )
        # some fast tokenizers also return token_type_ids, which generate() of most models refuses
        self.tokenizer.model_input_names = ["input_ids", "attention_mask"]
        if self.tokenizer.chat_template is None:
            raise ValueError(f"{path}: the tokenizer has no chat template")
        self.stop_ids = self._find_stop_ids()
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token_id = self.stop_ids[0]  # masked everywhere, any id will do

    def _find_stop_ids(self) -> list[int]:
        """The token that ends an assistant's turn in the chat template, and the tokenizer's EOS."""
        answer = "ANSWER"
        conversation = [
            {"role": "user", "content": "QUESTION"},
            {"role": "assistant", "content": answer},
        ]
        text = self.tokenizer.apply_chat_template(conversation, tokenize=False)
        tail = text.rpartition(answer)[2]
        special = set(self.tokenizer.all_special_ids) | set(
            self.tokenizer.get_added_vocab().values()
        )
        after_answer = self.tokenizer(tail, add_special_tokens=False)["input_ids"][:1]
        stop_ids = [token for token in after_answer if token in special]
        eos = self.tokenizer.eos_token_id
        if eos is not None and eos not in stop_ids:
            stop_ids.append(eos)
        if not stop_ids:
            raise ValueError("the tokenizer has no token that ends an assistant's turn")
        return stop_ids

    def _get_potential_stop_words(self, path: str | None) -> list[str]:
        return self.tokenizer.convert_ids_to_tokens(self.stop_ids)

    def _load_model(
        self,
        path: str,
        kwargs: dict[str, Any],
        peft_path: str | None = None,
        peft_kwargs: dict[str, Any] | None = None,
    ) -> None:
        if "quantization_config" in json.loads((Path(path) / "config.json").read_text("utf-8")):
            # here, because the other variants are not asked again when it is edited
            import int4_model

            self.model = int4_model.load(Path(path))
        else:
            self.model = self._load_dense(path, kwargs)
        if not hasattr(DynamicCache, "get_max_length"):
            # InternLM2's own code asks how long the cache may grow; transformers dropped the method
            DynamicCache.get_max_length = lambda cache: None
        self.model.eval()
        self.model.generation_config = GenerationConfig(
            do_sample=False, eos_token_id=self.stop_ids, pad_token_id=self.tokenizer.pad_token_id
        )

    @staticmethod
    def _load_dense(path: str, kwargs: dict[str, Any]) -> PreTrainedModel:
        model_kwargs = _set_model_kwargs_torch_dtype(dict(kwargs), path)
        model, info = AutoModelForCausalLM.from_pretrained(
            path, output_loading_info=True, **model_kwargs
        )
        if info["missing_keys"]:
            # transformers would go on with random numbers in their place
            raise ValueError(
                f"{path}: weights are missing: {', '.join(sorted(info['missing_keys']))}"
            )
        return model

    def prompt_ids(self, prompt: Any) -> list[int]:
        """Token ids the model reads before it answers `prompt` (a string or OpenCompass' roles)."""
        messages = _convert_chat_messages([prompt])[0]
        return self.tokenizer.apply_chat_template(messages, add_generation_prompt=True)

    def _check_length(self, prompt: Any, length: int) -> None:
        if length > self.max_seq_len:
            raise ValueError(
                f"prompt and answer need {length} tokens, the model has {self.max_seq_len}:"
                f" {prompt}"
            )

    def generate(self, inputs: Sequence[Any], max_out_len: int, **kwargs: Any) -> list[str]:
        """Greedy answers, as OpenCompass makes them, to prompts that fit as a whole."""
        for prompt in inputs:
            self._check_length(prompt, len(self.prompt_ids(prompt)) + max_out_len)
        return super().generate(inputs, max_out_len, **kwargs)

    def score_options(self, prompts: Sequence[Any], options: Sequence[str]) -> list[OptionScore]:
        """Log-likelihood of options[i] as the whole assistant's turn after prompts[i].

        Prompt and answer are tokenised apart, as in training and in generation. One batch:
        the caller chooses how many.
        """
        rows, wanted = [], []
        for prompt, option in zip(prompts, options, strict=True):
            answer = self.tokenizer(option, add_special_tokens=False)["input_ids"]
            rows.append([*self.prompt_ids(prompt), *answer, self.stop_ids[0]])
            self._check_length(prompt, len(rows[-1]))
            wanted.append([[token] for token in rows[-1][-len(answer) - 1 :]])
        scores = []
        for found, option, prompt in zip(
            self._log_probabilities(rows, wanted), options, prompts, strict=True
        ):
            each = found[:, 0]
            scores.append(self._score(each[:-1].sum().item(), each[-1].item(), option, prompt))
        return scores

    def score_ways(
        self, texts: Sequence[str], ways: Sequence[Sequence[str]]
    ) -> list[list[OptionScore]]:
        """Log-likelihood of plain texts[i] going on in each of ways[i], from where these differ.

        Text and way are tokenised as one, as the model read text in pre-training, and have no end
        here. One batch.
        """
        rows: list[list[int]] = []
        wanted: list[list[list[int]]] = []
        for text, each in zip(texts, ways, strict=True):
            ids = [self.tokenizer(text + way)["input_ids"] for way in each]
            shared = _shared([self.tokenizer(text)["input_ids"], *ids])
            if not shared:
                # a tokenizer that marks no beginning: the first token must come after something
                ids, shared = [[self.stop_ids[-1], *row] for row in ids], 1
            if all(len(row) == shared + 1 for row in ids):
                # one token each, such as a letter: read the text once
                rows.append(ids[0])
                wanted.append([[row[-1] for row in ids]])
            else:
                rows += ids
                wanted += [[[token] for token in row[shared:]] for row in ids]
            self._check_length(text, max(map(len, ids)))
        sums = [value for found in self._log_probabilities(rows, wanted) for value in found.sum(0)]
        left = iter(sums)
        return [
            [self._score(next(left).item(), 0.0, way, text) for way in each]
            for text, each in zip(texts, ways, strict=True)
        ]

    @staticmethod
    def _score(text: float, end: float, option: str, prompt: Any) -> OptionScore:
        if not math.isfinite(text + end):
            raise ValueError(f"the likelihood of '{option}' is not a number: {prompt}")
        return OptionScore(text, end)

    @torch.no_grad()
    def _log_probabilities(
        self, rows: Sequence[list[int]], wanted: Sequence[list[list[int]]]
    ) -> list[torch.Tensor]:
        """Natural logarithm of the probabilities of some tokens in the last places of each row.

        Args:
            rows: token ids.
            wanted: for each of the last places of a row, which tokens to look at there.

        Returns:
            of each row, float64 of shape (places, tokens).
        """
        # padded on the right: causal attention never looks there, positions stay as without padding
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self.tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        device = self.model.device
        # the logits at position p predict the token at p + 1
        firsts = [len(row) - len(places) - 1 for row, places in zip(rows, wanted, strict=True)]
        # over a large vocabulary, the logits of long prompts would fill a GPU
        last = {"logits_to_keep": width - min(firsts)} if self._keeps_last_logits() else {}
        logits = self.model(ids.to(device), attention_mask=mask.to(device), **last).logits
        left_out = width - logits.shape[1]
        found = []
        for i, (first, places) in enumerate(zip(firsts, wanted, strict=True)):
            start = first - left_out
            predicted = logits[i, start : start + len(places)].float().log_softmax(dim=-1)
            found.append(predicted.gather(1, torch.tensor(places, device=device)).double())
        return found

    def _keeps_last_logits(self) -> bool:
        """Whether the model can leave out the logits of the first tokens; not all code can."""
        return "logits_to_keep" in inspect.signature(self.model.forward).parameters


def _shared(rows: Sequence[list[int]]) -> int:
    """How many tokens all rows begin with in common."""
    for place, tokens in enumerate(zip(*rows, strict=False)):
        if len(set(tokens)) > 1:
            return place
    return min(map(len, rows))
