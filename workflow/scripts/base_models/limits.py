"""What AWQ and TurboMind of LMDeploy 0.7.3 ask of a model; standard library only.

Asked of a base model before anything runs, and of the merged model before the slow part of each
4-bit stage.
"""

import json
from pathlib import Path

# Architectures for which AWQ and the converter were found to give right weights (their matrices:
# quantization/architectures.py), and the heads that TurboMind's attention takes. With heads of 64
# the converter silently writes wrong weights of InternLM2, and of Mistral if its configuration
# says `head_dim: null`, as transformers writes it.
HEAD_DIMS = {
    "LlamaForCausalLM": (64, 128),
    "Qwen2ForCausalLM": (64, 128),
    "InternLM2ForCausalLM": (128,),
    "MistralForCausalLM": (128,),
}
# lmdeploy/turbomind/deploy/converter.py: "Currently, only 128 is supported"
TURBOMIND_GROUP_SIZE = 128
# 4-bit weights in one packed word
WORD = 8


class NotAModel(Exception):
    """A folder is not that of a Hugging Face model."""


def head_dim(config: dict) -> int:
    """Size of one attention head, from the content of a `config.json`."""
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def of_awq(config: dict, group_size: int) -> list[str]:
    """One line per reason why a model cannot be quantised to 4 bits.

    The inputs of the quantised matrices are the hidden state (q, k, v, gate, up), the attention
    heads (o) and the intermediate state (down); each is cut into groups of neighbours. The packed
    words hold several outputs each.

    Args:
        config: the content of its `config.json`; sizes in elements.
        group_size: inputs of a matrix that share a scale.
    """
    architecture = config["architectures"][0]
    if architecture not in HEAD_DIMS:
        known = ", ".join(HEAD_DIMS)
        return [f"architectures: {architecture} is not among those that are quantised: {known}."]
    heads, size = config["num_attention_heads"], head_dim(config)
    inputs = {
        "hidden_size": config["hidden_size"],
        "num_attention_heads x head_dim": heads * size,
        "intermediate_size": config["intermediate_size"],
    }
    mistakes = [
        f"{name}: {value} is not a multiple of the AWQ group size {group_size}."
        for name, value in inputs.items()
        if value % group_size
    ]
    outputs = (config.get("num_key_value_heads") or heads) * size
    if outputs % WORD:
        mistakes.append(
            f"num_key_value_heads x head_dim: {outputs} is not a multiple of {WORD}, the number of "
            "4-bit weights in one word."
        )
    if "rope_theta" not in config and "rope_parameters" in config:
        mistakes.append(
            "rope_theta: is not at the top level of config.json (saved by transformers 5?), and "
            "LMDeploy 0.7.3 would silently use 10000. Copy it there from rope_parameters."
        )
    return mistakes


def of_config(config: dict, group_size: int) -> list[str]:
    """One line per reason why a model cannot pass both 4-bit stages, AWQ and TurboMind.

    Args: as of `of_awq`.
    """
    mistakes = of_awq(config, group_size)
    architecture = config["architectures"][0]
    if architecture not in HEAD_DIMS:
        return mistakes
    size = head_dim(config)
    if size not in HEAD_DIMS[architecture]:
        allowed = " or ".join(map(str, HEAD_DIMS[architecture]))
        mistakes.append(f"head_dim: {size} is not {allowed}, which TurboMind needs.")
    if group_size != TURBOMIND_GROUP_SIZE:
        mistakes.append(
            f"group_size: {group_size} is not {TURBOMIND_GROUP_SIZE}, the only one that TurboMind "
            "reads."
        )
    if architecture == "LlamaForCausalLM" and config.get("attention_bias"):
        # deploy/source_model/llama.py leaves attn_bias at 0
        mistakes.append("attention_bias: LMDeploy 0.7.3 converts a Llama without its biases.")
    if config.get("sliding_window") and config.get("use_sliding_window", True):
        # nothing in lmdeploy/turbomind reads it; Qwen2 states one that it does not use
        mistakes.append("sliding_window: TurboMind of LMDeploy 0.7.3 attends to all tokens.")
    return mistakes


def of_folder(folder: Path, group_size: int) -> list[str]:
    """The same for a model folder, read from its `config.json`.

    Raises:
        NotAModel: the folder or its configuration is missing or not a language model's.
    """
    path = folder / "config.json"
    if not folder.is_dir():
        raise NotAModel(f"the folder {folder} does not exist.")
    if not path.is_file():
        raise NotAModel(f"{folder} has no config.json, so it is not a Hugging Face model folder.")
    try:
        return of_config(json.loads(path.read_text(encoding="utf-8")), group_size)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise NotAModel(f"{path} does not describe a language model: {error!r}.") from error
