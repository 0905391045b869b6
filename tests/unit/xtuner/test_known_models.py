"""What config/base_models.yaml says of XTuner and transformers, compared with both."""

import pytest
import table
import tiny_architectures
import torch
from transformers import AutoModelForCausalLM, MistralConfig
from xtuner.model.utils import find_all_linear_names
from xtuner.utils import PROMPT_TEMPLATE

KNOWN = table.read()
ARCHITECTURES = {entry["architecture"] for entry in KNOWN.values() if entry["train"] is True}


def model_of(architecture, tokenizer, folder):
    """A small model of an architecture."""
    if architecture == "MistralForCausalLM":
        sizes = {"hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 1}
        heads = {"num_attention_heads": 1, "num_key_value_heads": 1}
        return AutoModelForCausalLM.from_config(MistralConfig(vocab_size=32, **sizes, **heads))
    name = architecture.removesuffix("ForCausalLM").lower()
    return tiny_architectures.make_model(name, 128, 128, 1, 128, tokenizer, folder)[0]


@pytest.mark.parametrize("name", KNOWN)
def test_prompt_template_is_one_of_xtuner(name):
    assert KNOWN[name]["prompt_template"] in PROMPT_TEMPLATE


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_lora_modules_are_all_linear_layers_but_the_head(architecture, tokenizer, tmp_path):
    model = model_of(architecture, tokenizer, tmp_path)
    assert type(model).__name__ == architecture
    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    layers = {name.rpartition(".")[2] for name in linear if ".layers." in name}
    heads = {name.rpartition(".")[2] for name in linear if ".layers." not in name}
    for entry in KNOWN.values():
        if entry["architecture"] == architecture:
            assert set(entry["lora_target_modules"]) == layers
    # of these XTuner, asked for all linear layers, would take the head too
    taken = heads & set(find_all_linear_names(model))
    assert taken == {head for name, head in table.OTHER_HEADS.items() if name == architecture}
