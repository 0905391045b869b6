"""A random tiny model and what the real lmdeploy makes of it, once per session."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "workflow" / "scripts" / "quantization"
for folder in (SCRIPTS.parent / "base_models", SCRIPTS):
    sys.path.insert(0, str(folder))
# As in the rules; read when torch is loaded, here and in the scripts that are started.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

TEMPLATE = (
    "{% for m in messages %}"
    "{% if m.role == 'user' %}<|User|>:{{ m.content }}\n"
    "{% elif m.role == 'assistant' %}<|Bot|>:{{ m.content }}</s>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|Bot|>:{% endif %}"
)


def make_tokenizer():
    """A byte-level tokenizer that adds a BOS, as the project's own one does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "</s>", "<|User|>", "<|Bot|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["法国的首都是哪里？巴黎", "中国的首都是北京。"] * 10, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        chat_template=TEMPLATE,
    )


def internlm2_code() -> Path:
    """The folder with InternLM2's modelling code, which only XTuner's environment has."""
    shell = SCRIPTS.parents[1] / "envshell" / "xtuner" / "bash"
    code = (
        "from importlib.metadata import distribution;"
        "print(distribution('xtuner').locate_file('xtuner/_lite/modelings/internlm2'))"
    )
    found = subprocess.run([shell, "-c", f'python -c "{code}"'], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return Path(found.stdout.strip())


def random_model(folder: Path, kind: str, sizes: dict[str, Any]) -> Any:
    """A model of transformers, or InternLM2 by the code that is copied into its folder."""
    import transformers

    if kind != "InternLM2":
        config = getattr(transformers, f"{kind}Config")(**sizes)
        return getattr(transformers, f"{kind}ForCausalLM")(config)
    modules = ("configuration_internlm2", "modeling_internlm2")
    folder.mkdir()
    for module in modules:
        shutil.copy(internlm2_code() / f"{module}.py", folder)
    classes = {
        "AutoConfig": f"{modules[0]}.InternLM2Config",
        "AutoModelForCausalLM": f"{modules[1]}.InternLM2ForCausalLM",
    }
    content = {"model_type": "internlm2", "auto_map": classes, "bias": False, **sizes}
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=True)
    return transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=True)


def make_model(
    folder: Path, kind: str = "Llama", kv_heads: int = 4, head_dim: int = 64, **config: object
) -> None:
    """Save a random model with norms and biases that are not trivial; `config`: further entries."""
    import torch

    torch.manual_seed(0)
    sizes = {
        "hidden_size": 4 * head_dim,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": kv_heads,
        "intermediate_size": 768,
        "vocab_size": 320,
        "max_position_embeddings": 256,
        "tie_word_embeddings": False,
        "rope_theta": 50000.0,
        "initializer_range": 1 / 16,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    model = random_model(folder, kind, sizes | config)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data = torch.rand_like(parameter) + 0.5
        if name.endswith("bias"):
            parameter.data = torch.randn_like(parameter) * 0.3
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)


def write_calibration(path: Path) -> None:
    with open(path, "w", encoding="utf-8") as lines:
        for number in range(60):
            question = {"role": "user", "content": f"第{number}题：首都是哪里？"}
            answer = {"role": "assistant", "content": f"北京{number}"}
            lines.write(json.dumps({"messages": [question, answer]}, ensure_ascii=False) + "\n")


def run_script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run one of our scripts as a rule does."""
    command = [sys.executable, str(SCRIPTS / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@dataclass(frozen=True)
class Chain:
    """Folders of one model through lmdeploy's real tools."""

    merged: Path
    awq: Path
    workspace: Path
    calibration: Path
    log: str

    def copy_awq(self, target: Path) -> Path:
        return Path(shutil.copytree(self.awq, target / "awq"))

    def copy_workspace(self, target: Path) -> Path:
        return Path(shutil.copytree(self.workspace, target / "turbomind"))


def quantize_options(merged: Path, calibration: Path, output: Path) -> list[str]:
    options = ["--model", merged, "--calibration", calibration, "--output", output]
    options += ["--group-size", 128, "--device", "cpu"]
    options += ["--calibration-samples", 8, "--calibration-length", 64, "--seed", 3]
    return [str(option) for option in options]


def run_chain(root: Path, **model: object) -> Chain:
    make_model(root / "merged", **model)
    write_calibration(root / "calibration.jsonl")
    chain = Chain(root / "merged", root / "awq", root / "turbomind", root / "calibration.jsonl", "")
    options = quantize_options(chain.merged, chain.calibration, chain.awq)
    quantized = run_script("quantize_awq.py", *options)
    assert quantized.returncode == 0, quantized.stdout + quantized.stderr
    converted = run_script(
        "convert_turbomind.py",
        *("--awq", chain.awq, "--output", chain.workspace, "--model-name", "tiny"),
    )
    assert converted.returncode == 0, converted.stdout + converted.stderr
    log = quantized.stdout + converted.stdout
    return Chain(chain.merged, chain.awq, chain.workspace, chain.calibration, log)


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Llama, tied embeddings, as many key/value heads as heads: all of AWQ's smoothing."""
    return run_chain(tmp_path_factory.mktemp("llama"), tie_word_embeddings=True)


@pytest.fixture(scope="session")
def qwen2_chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Qwen2: attention biases, grouped heads, an output matrix of its own."""
    return run_chain(tmp_path_factory.mktemp("qwen2"), kind="Qwen2", kv_heads=2)


@pytest.fixture(scope="session")
def internlm2_chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """InternLM2: q, k and v in one matrix, with grouped heads; its own code."""
    root = tmp_path_factory.mktemp("internlm2")
    return run_chain(root, kind="InternLM2", kv_heads=2, head_dim=128)


@pytest.fixture(scope="session")
def mistral_chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Mistral: a Llama under another name, with grouped heads."""
    root = tmp_path_factory.mktemp("mistral")
    return run_chain(root, kind="Mistral", kv_heads=2, head_dim=128, sliding_window=None)
