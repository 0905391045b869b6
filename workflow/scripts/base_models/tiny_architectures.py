"""A tiny model with random weights in one of the architectures that the whole chain takes."""

import json
import math
import shutil
from importlib.metadata import distribution
from pathlib import Path

from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

ARCHITECTURES = ("llama", "qwen2", "internlm2")
# InternLM2's modelling code is not part of transformers; XTuner's wheel holds a copy of it
INTERNLM2_CODE = "xtuner/_lite/modelings/internlm2"
INTERNLM2_CLASSES = {
    "AutoConfig": "configuration_internlm2.InternLM2Config",
    "AutoModel": "modeling_internlm2.InternLM2ForCausalLM",
    "AutoModelForCausalLM": "modeling_internlm2.InternLM2ForCausalLM",
}


def make_model(
    architecture: str,
    hidden_size: int,
    intermediate_size: int,
    layers: int,
    head_dim: int,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
) -> tuple[PreTrainedModel, str]:
    """A model with random weights, and where its code comes from ("" for transformers' own).

    Args:
        architecture: one of ARCHITECTURES. Qwen2 has biases on q, k and v; InternLM2 has q, k and v
            in one matrix, and an output matrix of its own.
        hidden_size, intermediate_size, head_dim: in elements; `head_dim` divides `hidden_size`.
        layers: number of layers.
        tokenizer: gives the size of the vocabulary and the special tokens.
        folder: of the model; InternLM2's code is copied into it, as a folder of the hub has it.
    """
    heads = hidden_size // head_dim
    sizes = {
        "vocab_size": math.ceil(len(tokenizer) / 128) * 128,
        "hidden_size": hidden_size,
        "intermediate_size": intermediate_size,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "max_position_embeddings": 1024,
        # with the usual 0.02 so narrow a model trains, but LoRA on it stays stuck
        "initializer_range": 1 / math.sqrt(hidden_size),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if architecture == "llama":
        config = LlamaConfig(**sizes, head_dim=head_dim, tie_word_embeddings=True)
        return LlamaForCausalLM(config), ""
    if architecture == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**sizes, tie_word_embeddings=True)), ""
    return _internlm2(sizes, folder)


def _internlm2(sizes: dict, folder: Path) -> tuple[PreTrainedModel, str]:
    wheel = distribution("xtuner")
    folder.mkdir(parents=True, exist_ok=True)
    for module in {name.partition(".")[0] for name in INTERNLM2_CLASSES.values()}:
        source = Path(wheel.locate_file(f"{INTERNLM2_CODE}/{module}.py"))
        shutil.copyfile(source, folder / source.name)
    # untied and without biases, as in every InternLM2 that was released
    config = {"model_type": "internlm2", "auto_map": INTERNLM2_CLASSES, "bias": False, **sizes}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model = AutoModelForCausalLM.from_config(
        AutoConfig.from_pretrained(folder, trust_remote_code=True), trust_remote_code=True
    )
    return model, f"{INTERNLM2_CODE} of the wheel of xtuner {wheel.version} (Apache-2.0)"
