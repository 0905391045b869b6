"""The sizes of a tiny base model as a configuration states them; standard library only."""

import table

# the names in the configuration, and those of the classes in `config.json`
CLASSES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "internlm2": "InternLM2ForCausalLM",
}


def config_of(base: dict) -> dict:
    """What the `config.json` of a tiny base model will say of its sizes."""
    return {
        "architectures": [CLASSES[base["architecture"]]],
        "hidden_size": base["hidden_size"],
        "intermediate_size": base["intermediate_size"],
        "head_dim": base["head_dim"],
        "num_attention_heads": base["hidden_size"] // base["head_dim"],
        "rope_theta": 10000.0,
    }


def mistakes_of(base: dict, known: dict[str, dict]) -> list[str]:
    """One line per reason why it cannot be made or trained; each goes on from the model's name.

    Args:
        base: its keys, with the defaults of the schema.
        known: the table of base models, which lists the layers of InternLM2.
    """
    mistakes = []
    if base["hidden_size"] % base["head_dim"]:
        mistakes.append(
            f".hidden_size: {base['hidden_size']} is not a multiple of head_dim {base['head_dim']}."
        )
    if base["architecture"] == "internlm2" and not base["trust_remote_code"]:
        mistakes.append(
            ".trust_remote_code: must be true for the architecture internlm2: its Python code, "
            "which is copied from XTuner's package, runs here."
        )
    if line := table.missing_targets(CLASSES[base["architecture"]], base, known):
        mistakes.append(f": {line}")
    return mistakes
