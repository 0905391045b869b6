"""make_models.py FOLDER: models as the export leaves them, and what training makes of the probes.

Runs in the environment of xtuner: the ids that serving must give come from XTuner itself.
"""

import json
import sys
from pathlib import Path

import torch

SCRIPTS = Path(__file__).resolve().parents[3] / "workflow" / "scripts"
for stage in ("base_models", "training", "export"):
    sys.path.insert(0, str(SCRIPTS / stage))

import launch_xtuner

launch_xtuner.prepare()

import check_chat_template
import make_tiny
from chat_format import write_chat_format
from tiny_architectures import make_model
from transformers import LlamaConfig, LlamaForCausalLM

TEMPLATES = ("qwen_chat", "internlm2_chat", "llama3_chat", "minicpm")


def write_model(folder: Path, template: str) -> None:
    """A Llama of random weights that was never told when to end, and its chat format."""
    sentences = [f"第{n}号城市的名字是城{n}。" for n in range(200)]
    tokenizer = make_tiny.train_tokenizer(sentences, 512)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        initializer_range=0.125,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    # an answer goes on until it is cut, and has no bytes that are no text
    rare = [id for token, id in tokenizer.get_vocab().items() if token.startswith("<")]
    rare += range(len(tokenizer), config.vocab_size)  # tokens that are none
    model.model.embed_tokens.weight.data[rare] = 0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_chat_format(folder, template, trusted=False)


def write_internlm2(folder: Path) -> None:
    """A model that brings its own code."""
    tokenizer = make_tiny.train_tokenizer(["第1号城市的名字是城1。"], 512)
    torch.manual_seed(0)
    model, _ = make_model("internlm2", 128, 256, 2, 128, tokenizer, folder)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_chat_format(folder, "internlm2_chat", trusted=True)


def trained_prompts(folder: Path, template: str) -> list[dict]:
    """The probes as messages up to the first answer, with the ids that XTuner trains there."""
    comparison = check_chat_template.Comparison(folder, template, trusted=True)
    prompts = []
    for probe in comparison.probes:
        messages = check_chat_template.messages_of(probe)
        first = next(i for i, one in enumerate(messages) if one["role"] == "assistant")
        _, ids, length = comparison.trained(probe)
        prompts.append({"messages": messages[:first], "ids": ids[:length]})
        assert comparison.difference(probe) is None
    return prompts


if __name__ == "__main__":
    target = Path(sys.argv[1])
    for name in TEMPLATES:
        write_model(target / name, name)
    write_internlm2(target / "own_code")
    prompts = {name: trained_prompts(target / name, name) for name in TEMPLATES}
    prompts["own_code"] = trained_prompts(target / "own_code", "internlm2_chat")
    (target / "trained.json").write_text(json.dumps(prompts, ensure_ascii=False), encoding="utf-8")
