import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # as the script does before it imports anything

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

SCRIPTS = Path(__file__).parents[3] / "workflow" / "scripts"
for stage in ("base_models", "training"):
    sys.path.insert(0, str(SCRIPTS / stage))

import manifest
import tiny_tokenizer

# a prompt, and answers that end with the end of a turn
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ bos_token ~ '<|im_start|>user\n' ~ message['content'] ~ '<|im_end|>\n' }}"
    "{{ '<|im_start|>assistant\n' }}"
    "{% else %}{{ message['content'] ~ '<|im_end|>' }}{% endif %}{% endfor %}"
)
LIKED = "好"


@pytest.fixture(scope="session")
def tokenizer():
    """A tokenizer of the kind the tiny base model has, with a chat template."""
    made = tiny_tokenizer.train_tokenizer([f"第{n}号城市的名字很{LIKED}。" for n in range(9)], 448)
    made.chat_template = CHAT_TEMPLATE
    return made


def sizes(tokenizer, **options) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=64,
        num_attention_heads=1,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **options,
    )


def save(model, tokenizer, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    manifest.write_manifest(folder, "test", "0", "none")
    return folder


@pytest.fixture(scope="session")
def policy(tokenizer, tmp_path_factory) -> Path:
    """A model of random weights."""
    torch.manual_seed(0)
    config = sizes(tokenizer, num_hidden_layers=2, initializer_range=1 / 8)
    return save(LlamaForCausalLM(config), tokenizer, tmp_path_factory.mktemp("policy"))


def liking_model(tokenizer) -> LlamaForSequenceClassification:
    """A reward model by construction: the larger the share of LIKED among the tokens, the better.

    Attention without queries is a mean over all tokens before; of each it carries one number into
    the last token's state, which the head reads.
    """
    liked = tokenizer.convert_tokens_to_ids(LIKED)
    config = sizes(tokenizer, num_hidden_layers=1, num_labels=1)
    config.reward_token_id = tokenizer.bos_token_id
    model = LlamaForSequenceClassification(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name:
                weight.zero_()
        model.model.embed_tokens.weight[:, 1] = 1  # every token: a state of zeros has no norm
        model.model.embed_tokens.weight[liked, 0] = 1
        attention = model.model.layers[0].self_attn
        attention.v_proj.weight[0, 0] = attention.o_proj.weight[0, 0] = 1
        model.score.weight[0, 0] = 1
    return model


@pytest.fixture(scope="session")
def liking(tokenizer, tmp_path_factory) -> Path:
    """The folder of `liking_model`."""
    return save(liking_model(tokenizer), tokenizer, tmp_path_factory.mktemp("liking"))


@pytest.fixture(scope="session")
def random_judge(tokenizer, tmp_path_factory) -> Path:
    """A reward model of random weights."""
    torch.manual_seed(1)
    config = sizes(tokenizer, num_hidden_layers=2, num_labels=1, initializer_range=1 / 8)
    config.reward_token_id = tokenizer.bos_token_id
    model = LlamaForSequenceClassification(config)
    return save(model, tokenizer, tmp_path_factory.mktemp("judge"))
