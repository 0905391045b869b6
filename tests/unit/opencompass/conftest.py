"""Small model folders and question files, made on the spot."""

import json
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "workflow" / "scripts" / "evaluation"
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS / "extension")]

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CAPITALS = {
    "法国": "巴黎",
    "日本": "东京",
    "埃及": "开罗",
    "挪威": "奥斯陆",
    "希腊": "雅典",
    "泰国": "曼谷",
    "印度": "新德里",
    "英国": "伦敦",
    "古巴": "哈瓦那",
    "秘鲁": "利马",
}


def make_model(folder: Path, hidden: int = 64, layers: int = 2, steps: int = 0) -> Path:
    """Write a Llama with a byte-level BPE tokenizer that adds BOS when encoding.

    The chat template writes BOS too: whoever encodes the rendered text as usual gets two. The
    weights are random, or trained for `steps` on qa_rows().
    """
    import torch
    from tokenizers import (
        Tokenizer,
        decoders,
        models,
        pre_tokenizers,
        processors,
        trainers,
    )
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    texts = [f"{country}的首都是{capital}。" for country, capital in CAPITALS.items()]
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", chat_template=TEMPLATE
    )
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(fast),
            hidden_size=hidden,
            intermediate_size=2 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=hidden // 64,
            num_key_value_heads=hidden // 64,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=1,
            initializer_range=hidden**-0.5,
        )
    )
    if steps:
        _train(model, fast, steps)
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def _train(model, tokenizer, steps: int) -> None:
    import torch

    rows = []
    for row in qa_rows():
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": row["question"]}], add_generation_prompt=True
        )
        answer = tokenizer(row["answer"] + "<|im_end|>", add_special_tokens=False)["input_ids"]
        rows.append((prompt + answer, [-100] * len(prompt) + answer))
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [3] * (width - len(ids)) for ids, _ in rows])
    labels = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def qa_rows(count: int = len(CAPITALS)) -> list[dict[str, str]]:
    return [
        {"id": f"q{i}", "question": f"{country}的首都是哪里？", "answer": capital}
        for i, (country, capital) in enumerate(list(CAPITALS.items())[:count])
    ]


def mcq_rows(count: int = len(CAPITALS)) -> list[dict[str, str]]:
    capitals = list(CAPITALS.values())
    rows = []
    for i, row in enumerate(qa_rows(count)):
        options = [capitals[(i + shift) % len(capitals)] for shift in range(4)]
        right = i % 4
        options[0], options[right] = options[right], options[0]
        rows.append({**row, **dict(zip("ABCD", options, strict=True)), "answer": "ABCD"[right]})
    return rows


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows nothing."""
    return make_model(tmp_path_factory.mktemp("random"))


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows the answers of qa_rows() by heart."""
    return make_model(tmp_path_factory.mktemp("trained"), steps=80)
