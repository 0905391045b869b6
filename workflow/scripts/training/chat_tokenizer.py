"""The tokenizer of a stage that learns from pairs; the rendered configuration builds it."""

import sys
from collections.abc import Mapping
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase
from xtuner.dataset.utils import get_bos_eos_token_ids

sys.path.insert(0, str(Path(__file__).parents[1] / "export"))
from chat_template import jinja


def set_chat_template(tokenizer: PreTrainedTokenizerBase, template: Mapping) -> None:
    """Give a tokenizer the chat template that renders conversations as XTuner trains them.

    Args:
        tokenizer: changed in place.
        template: an entry of `xtuner.utils.PROMPT_TEMPLATE`.
    """
    bos, eos = get_bos_eos_token_ids(tokenizer)
    tokenizer.chat_template = jinja(
        template,
        bos_token="".join(tokenizer.convert_ids_to_tokens(bos)),
        eos_token="".join(tokenizer.convert_ids_to_tokens(eos)),
    )


def chat_tokenizer(prompt_template: Mapping, **options) -> PreTrainedTokenizerBase:
    """A tokenizer whose chat template is the prompt template, as in supervised fine-tuning.

    Args:
        prompt_template: an entry of `xtuner.utils.PROMPT_TEMPLATE`.
        options: arguments of `AutoTokenizer.from_pretrained`.
    """
    tokenizer = AutoTokenizer.from_pretrained(**options)
    set_chat_template(tokenizer, prompt_template)
    return tokenizer


def reward_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token after a conversation, at which a reward model gives its score.

    The end of sequence; but transformers finds the last token by what is not padding, and in many
    models the two are the same: then the begin of sequence, then the unknown token.

    Raises:
        ValueError: the tokenizer has none of these beside its padding.
    """
    for token in (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id):
        if token is not None and token != tokenizer.pad_token_id:
            return token
    raise ValueError(
        "the tokenizer has no special token but its padding, so a reward model has no place for "
        "its score; take another base model."
    )
