"""The chat template for lmdeploy's server gives the tokenizer's own prompt."""

import json

import pytest
from chat_template import TemplateNotExpressible, conversation, describe_template, render
from conftest import TEMPLATE, make_tokenizer

CHATML = (
    "{% for m in messages %}"
    "{% if loop.first and m.role != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
INSTRUCTION = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% elif m.role == 'assistant' %}{{ m.content }}</s>"
    "{% else %}{{ raise_exception('no system') }}{% endif %}{% endfor %}"
)


def lmdeploy_prompt(description, messages, tmp_path):
    """What lmdeploy's server builds from the written file."""
    from lmdeploy.model import ChatTemplateConfig

    path = tmp_path / "template.json"
    path.write_text(json.dumps(description), encoding="utf-8")
    return ChatTemplateConfig.from_json(str(path)).chat_template.messages2prompt(messages)


@pytest.mark.parametrize("template", [TEMPLATE, CHATML, INSTRUCTION])
@pytest.mark.parametrize("texts", [("问",), ("问", "答", "再问"), ("a", "b", "c\nd", "e", "f")])
def test_same_prompt(template, texts, tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    messages = conversation(*texts)
    prompt = lmdeploy_prompt(describe_template(tokenizer), messages, tmp_path)
    assert prompt == render(tokenizer, messages)


def test_default_system_prompt_can_be_replaced(tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHATML
    messages = [{"role": "system", "content": "简短"}, *conversation("问")]
    description = describe_template(tokenizer)
    assert description["meta_instruction"] == "You help."
    assert lmdeploy_prompt(description, messages, tmp_path) == render(tokenizer, messages)


def test_stop_word_is_one_token():
    tokenizer = make_tokenizer()
    assert describe_template(tokenizer)["stop_words"] == ["</s>"]
    tokenizer.chat_template = CHATML  # <|im_end|> is no token of this tokenizer
    assert "stop_words" not in describe_template(tokenizer)


@pytest.mark.parametrize(
    "template",
    [
        TEMPLATE.replace("m.content", "m.content | lower"),  # changes the text
        TEMPLATE.replace("User|>", "{{ loop.index }}|>"),  # counts the turns
        INSTRUCTION.replace("%}{{ m.content }}</s>", "%} {{ m.content }}</s>"),  # blank in history
    ],
    ids=["lower", "count", "blank"],
)
def test_not_expressible(template):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(TemplateNotExpressible):
        describe_template(tokenizer)
