"""What the tests of the training stages share: a tiny model, data, and the rules' commands."""

import json
import sys
from pathlib import Path
from unittest import mock

import make_tiny
import render_config
import torch
from manifest import write_manifest
from transformers import LlamaConfig, LlamaForCausalLM

SCRIPTS = Path(__file__).parents[3] / "workflow" / "scripts"
METHODS = ("pt", "sft", "dpo", "orpo", "reward")
FINETUNINGS = ("qlora", "lora", "full")
TRAINING = {
    "finetuning": "qlora",
    "steps": 10,
    "batch_size": 2,
    "gradient_accumulation": 1,
    "learning_rate": 1e-3,
    "warmup_ratio": 0.2,
    "max_length": 64,
    "pack": False,
    "seed": 7,
    "checkpoint_every": 5,
    "lora": {"r": 8, "alpha": 16, "dropout": 0.0},
    "beta": 0.1,
    "precision": "auto",
    "optimizer": "adamw",
}
BASE = {"prompt_template": "qwen_chat", "trust_remote_code": False, "lora_target_modules": None}
KINDS = {"pt": "texts", "sft": "conversations", "dpo": "pairs", "orpo": "pairs", "reward": "pairs"}


def make_base(folder):
    """A Llama of random weights, tied embeddings and an unusual rope_theta."""
    sentences = [f"第{n}号城市的名字是城{n}。" for n in range(200)]
    tokenizer = make_tiny.train_tokenizer(sentences, 512)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=512,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=256,
            rope_theta=123456.0,
            tie_word_embeddings=True,
            initializer_range=0.125,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_manifest(folder, source="random weights", revision="seed 0", licence="none")


def write_data(folder):
    """Texts, conversations and pairs about the cities with a number."""
    rows = {"texts": [], "conversations": [], "pairs": []}
    for n in range(40):
        question, answer, wrong = f"第{n}号城市叫什么？", f"城{n}", f"不是城{n}"
        text = f"第{n}号城市的名字是城{n}。" * (1 + n % 3)
        rows["texts"].append({"conversation": [{"input": "", "output": text}]})
        rows["conversations"].append({"conversation": [{"input": question, "output": answer}]})
        rows["pairs"].append(pair(question, answer, wrong))
    for name, found in rows.items():
        lines = [json.dumps(row, ensure_ascii=False) for row in found]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


def pair(question, chosen, rejected):
    """A pair in the form of XTuner."""
    return {
        "prompt": [{"role": "user", "content": question}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }


def render(project, output, method, device="cpu", base=BASE, **training):
    """XTuner's configuration of a stage, at `output`."""
    paths = {
        "base_model": str(project / "base"),
        "train": str(project / f"{KINDS[method]}.jsonl"),
    }
    template = SCRIPTS / "training" / "config.py.jinja"
    text = render_config.render(template, method, TRAINING | training, base, paths, device)
    output.write_text(text, "utf-8")
    return output


def run_script(module, **options):
    """Run a rule's script in this process."""
    argv = [module.__name__]
    for name, value in options.items():
        argv += [f"--{name.replace('_', '-')}", str(value)]
    with mock.patch.object(sys, "argv", argv):
        module.main()


def config_of(folder):
    """mmengine names a training after its configuration and the second it starts in."""
    return folder / f"{folder.name}.py"


def train_options(project, folder, method):
    """The options of train.py."""
    return {
        "config": config_of(folder),
        "train": project / f"{KINDS[method]}.jsonl",
        "lengths": folder / "lengths.json",
        "max_truncated": 0,
        "manifest": project / "base" / "manifest.json",
        "work": folder / "work",
        "checkpoint": folder / "checkpoint.pth",
        "log": folder / "log.json",
        "tensorboard": folder / "tensorboard",
    }


def train_command(project, folder, method, *more):
    """The command line of train.py."""
    command = [sys.executable, str(SCRIPTS / "training" / "train.py"), *more]
    for name, value in train_options(project, folder, method).items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    return command


def prepare(project, folder, method, **training):
    """Render and count: what train.py needs, in `folder`."""
    import count_tokens

    config = render(project, config_of(folder), method, **training)
    train = project / f"{KINDS[method]}.jsonl"
    run_script(count_tokens, config=config, train=train, lengths=folder / "lengths.json")


def base_model(project):
    """The base model's weights by name."""
    return LlamaForCausalLM.from_pretrained(project / "base").state_dict()
