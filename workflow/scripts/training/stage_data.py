"""Training data where XTuner's own functions lose some or lack a setting; built from config.py."""

import sys

from chat_tokenizer import reward_token_id
from torch.utils.data import Dataset
from xtuner.dataset import process_hf_dataset
from xtuner.dataset.preference_dataset import build_preference_dataset, load_jsonl_dataset
from xtuner.registry import BUILDER


def packed_texts(dataset: dict, tokenizer: dict, max_length: int) -> Dataset:
    """Texts one after the other, in packs of max_length tokens; a long one goes on in the next.

    XTuner by itself cuts every text at max_length before it packs, and the rest is lost.
    """
    # one process: XTuner drops the last, incomplete pack of every one
    whole = process_hf_dataset(
        dataset,
        tokenizer=tokenizer,
        max_length=sys.maxsize,
        remove_unused_columns=True,
        pack_to_max_length=False,
        map_num_proc=1,
    )
    return process_hf_dataset(
        whole.remove_columns("length"),
        do_dataset_tokenization=False,
        max_length=max_length,
        remove_unused_columns=True,
        shuffle_before_pack=True,
        pack_to_max_length=True,
        map_num_proc=1,
    )


def reward_pairs(data_files: str, tokenizer: dict, max_length: int) -> Dataset:
    """Pairs for a reward model, each conversation with its tokenizer's reward token at the end."""
    built = BUILDER.build(tokenizer)
    return build_preference_dataset(
        dataset=load_jsonl_dataset(data_files=[data_files]),
        tokenizer=built,
        max_length=max_length,
        is_dpo=False,
        is_reward=True,
        reward_token_id=reward_token_id(built),
        num_proc=1,
    )
