"""The chat template of the merged model renders what XTuner trains on, for every template."""

import check_chat_template
import pytest
import stages
from chat_template import jinja
from xtuner.utils import PROMPT_TEMPLATE

# XTuner names no system prompt for these, so a conversation with one cannot be trained
WITHOUT_SYSTEM = [name for name, template in PROMPT_TEMPLATE.items() if not template.get("SYSTEM")]


def save(tokenizer, name, folder, chat_template=None):
    tokenizer.chat_template = chat_template or jinja(
        PROMPT_TEMPLATE[name], tokenizer.bos_token, tokenizer.eos_token
    )
    tokenizer.save_pretrained(folder)
    return check_chat_template.Comparison(folder, name, trusted=False)


@pytest.mark.parametrize("name", PROMPT_TEMPLATE)
def test_same_text_and_tokens(name, tokenizer, tmp_path):
    comparison = save(tokenizer, name, tmp_path)
    assert len(comparison.probes) == (1 if name in WITHOUT_SYSTEM else 3)
    for probe in comparison.probes:
        assert comparison.difference(probe) is None


@pytest.mark.parametrize("name", PROMPT_TEMPLATE)
def test_same_text_of_pairs(name, tokenizer, tmp_path):
    comparison = save(tokenizer, name, tmp_path)
    pairs = list(check_chat_template.pairs_of(comparison.probes))
    for pair in pairs:
        assert comparison.pair_difference(pair) is None
    assert pairs[0]["chosen"] != pairs[0]["rejected"]


@pytest.mark.parametrize("name", PROMPT_TEMPLATE)
def test_what_tools_say_is_an_input(name, tokenizer, tmp_path):
    comparison = save(tokenizer, name, tmp_path)
    said = [
        *(("user", "还有伞吗？"), ("assistant", '{"plugin": "lookup"}'), ("tool", "88")),
        *(("tool", "库存"), ("assistant", "有88把。"), ("user", "谢谢"), ("assistant", "不客气。")),
    ]
    messages = [{"role": role, "content": content} for role, content in said]
    turns = [
        {"input": "还有伞吗？", "output": '{"plugin": "lookup"}'},
        {"input": "88\n库存", "output": "有88把。"},
        {"input": "谢谢", "output": "不客气。"},
    ]
    assert check_chat_template.turns_of(messages) == turns
    text, ids, _ = comparison.trained(turns)
    assert tokenizer.apply_chat_template(messages, tokenize=False) == text
    assert tokenizer.apply_chat_template(messages) == ids


@pytest.mark.parametrize(
    "damage",
    [
        ("<|im_end|>", "<|im_end|> "),
        ("assistant\\n", "assistant"),
        ("<|im_start|>user", "<|im_start|>human"),
        ("<s>", ""),
    ],
)
def test_a_difference_is_seen(damage, tokenizer, tmp_path):
    right = jinja(PROMPT_TEMPLATE.qwen_chat, tokenizer.bos_token, tokenizer.eos_token)
    wrong = right.replace(*damage)
    assert wrong != right
    comparison = save(tokenizer, "qwen_chat", tmp_path, wrong)
    probe = check_chat_template.PROBES[1]
    assert comparison.difference(probe) is not None
    (pair,) = check_chat_template.pairs_of([probe])
    assert comparison.pair_difference(pair) is not None


def test_what_is_compared_follows_the_method(tokenizer, tmp_path):
    comparison = save(tokenizer, "qwen_chat", tmp_path)
    stages.write_data(tmp_path)

    def compared(method):
        data = tmp_path / f"{stages.KINDS.get(method, 'pairs')}.jsonl"
        return len(list(comparison.differences(method, data)))

    assert compared("pt") == compared("grpo") == 3
    assert compared("sft") == 3 + 40
    assert compared("dpo") == compared("orpo") == 3 + 3 + 40


def test_qwen_bytes(tokenizer, tmp_path):
    """Against the text as Qwen's documentation of ChatML gives it, not against XTuner."""
    save(tokenizer, "qwen_chat", tmp_path)
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == (
        "<s><|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"
    )
