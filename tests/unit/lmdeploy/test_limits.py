"""What lmdeploy 0.7.3 cannot do is said before it is tried."""

import pytest
from limits import check_convertible, check_quantizable

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "intermediate_size": 768,
    "rope_theta": 10000.0,
}


def test_the_embedded_model_passes():
    assert check_convertible(LLAMA, 128).name == "LlamaForCausalLM"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "GPT2LMHeadModel is not supported"),
        ({"architectures": None}, "supported are InternLM2ForCausalLM, Llama"),
        ({"hidden_size": 320}, "hidden_size = 320 is not a multiple of the AWQ group size 128"),
        ({"intermediate_size": 700}, "intermediate_size = 700"),
        ({"head_dim": 48}, "num_attention_heads x head_dim = 192"),
        ({"num_key_value_heads": 1, "head_dim": 36, "num_attention_heads": 32}, "36 is not a mult"),
    ],
)
def test_not_quantizable(change, message):
    with pytest.raises(SystemExit, match=message):
        check_quantizable(LLAMA | change, 128)


def test_rope_theta_must_be_at_the_top_level():
    config = {key: value for key, value in LLAMA.items() if key != "rope_theta"}
    with pytest.raises(SystemExit, match="rope_theta"):
        check_quantizable(config | {"rope_parameters": {"rope_theta": 1e6}}, 128)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_attention_heads": 8}, "head_dim = 32, but TurboMind only supports 64 or 128"),
        ({"architectures": ["InternLM2ForCausalLM"]}, "head_dim = 64, .* only supports 128"),
    ],
)
def test_not_convertible(change, message):
    with pytest.raises(SystemExit, match=message):
        check_convertible(LLAMA | change, 128)


def test_turbomind_group_size():
    check_quantizable(LLAMA, 64)
    with pytest.raises(SystemExit, match="groups of 128, not 64"):
        check_convertible(LLAMA, 64)
