"""The model class of a variant that answers over HTTP."""

from typing import Any

from opencompass.models import OpenAISDK
from opencompass.models.base_api import BaseAPIModel

ROLES = {"SYSTEM": "system", "HUMAN": "user", "BOT": "assistant"}


class ServedModel(OpenAISDK):
    """A model behind an API that OpenAI's clients speak; it answers, and tells no likelihoods.

    The client, its number of requests at a time and its errors are OpenCompass' and OpenAI's own.
    Not so how an answer is asked for: there OpenCompass cuts it short where prompt and answer come
    near to the model's context, by a count of tokens of its own; runs whatever code comes with the
    tokenizer for that; takes a name that contains "o1" for a model without a temperature; and calls
    an answer without a visible character a failure.
    """

    # an estimate from the text, for leaving out examples of OpenCompass' own; there are none
    get_token_len = BaseAPIModel.get_token_len

    def _init_tokenizer(self) -> None:
        """The server counts the tokens."""

    def _generate(self, input: Any, max_out_len: int, temperature: float) -> str:
        messages = [{"role": ROLES[turn["role"]], "content": turn["prompt"]} for turn in input]
        answer = self.openai_client.chat.completions.create(
            model=self.path,
            messages=messages,
            max_tokens=max_out_len,
            temperature=temperature,
        )
        length = answer.usage.prompt_tokens + max_out_len
        if length > self.max_seq_len:
            raise ValueError(
                f"prompt and answer need {length} tokens, the model has {self.max_seq_len}: {input}"
            )
        return answer.choices[0].message.content
