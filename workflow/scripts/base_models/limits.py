"""What AWQ and TurboMind of LMDeploy 0.7.3 ask of a base model; standard library only."""

import json
from pathlib import Path

# TurboMind's attention kernels; of InternLM2 with 64 the converter silently writes wrong weights
HEAD_DIMS = {
    "LlamaForCausalLM": (64, 128),
    "Qwen2ForCausalLM": (64, 128),
    "InternLM2ForCausalLM": (128,),
}


class NotAModel(Exception):
    """A folder is not that of a Hugging Face model."""


def of_sizes(
    hidden_size: int,
    head_dim: int,
    intermediate_size: int,
    group_size: int,
    architecture: str = "LlamaForCausalLM",
) -> list[str]:
    """One line per size that the 4-bit kernels or the converter cannot take.

    The sizes are those of a Hugging Face `config.json`, in elements. AWQ quantises `group_size`
    neighbouring inputs of a matrix together, so each input size must be a multiple of it.
    """
    if architecture not in HEAD_DIMS:
        known = ", ".join(HEAD_DIMS)
        return [f"architectures: {architecture} is not among those that are converted: {known}."]
    mistakes = []
    if head_dim not in HEAD_DIMS[architecture]:
        allowed = " or ".join(map(str, HEAD_DIMS[architecture]))
        mistakes.append(f"head_dim: {head_dim} is not {allowed}, which TurboMind needs.")
    elif hidden_size % head_dim:
        mistakes.append(f"hidden_size: {hidden_size} is not a multiple of head_dim {head_dim}.")
    for name, size in (("hidden_size", hidden_size), ("intermediate_size", intermediate_size)):
        if size % group_size:
            mistakes.append(f"{name}: {size} is not a multiple of the AWQ group size {group_size}.")
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
        config = json.loads(path.read_text(encoding="utf-8"))
        hidden_size, heads = config["hidden_size"], config["num_attention_heads"]
        return of_sizes(
            hidden_size=hidden_size,
            head_dim=config.get("head_dim") or hidden_size // heads,
            intermediate_size=config["intermediate_size"],
            group_size=group_size,
            architecture=config["architectures"][0],
        )
    except (ValueError, LookupError, TypeError) as error:
        raise NotAModel(f"{path} does not describe a language model: {error!r}.") from error
