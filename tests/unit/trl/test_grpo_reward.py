"""Answers get the reward that the reward model was trained to give."""

import json
import shutil

import pytest
import torch
from grpo_reward import RewardModel, RewardModelError
from transformers import LlamaForSequenceClassification

CONVERSATIONS = [
    [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    for question, answer in (
        ("第1号城市叫什么？", "城1"),
        ("第2号城市？", "名字很好，很好，很好，不是吗？"),
        ("好？", ""),
        ("？", "the answer <|endoftext|> pads"),
    )
]


def test_the_score_is_the_head_at_the_last_token_of_xtuners_sequence(random_judge, tokenizer):
    judge = RewardModel(random_judge, False, "cpu", torch.float32)
    scores = judge.score(CONVERSATIONS, batch_size=3)
    assert len({round(score, 4) for score in scores}) == 4

    model = LlamaForSequenceClassification.from_pretrained(random_judge)
    for conversation, score in zip(CONVERSATIONS, scores, strict=True):
        question, answer = (message["content"] for message in conversation)
        text = (
            f"<s><|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>"
        )
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert ids.count(tokenizer.bos_token_id) == 1
        with torch.no_grad():
            states = model.model(torch.tensor([[*ids, tokenizer.bos_token_id]])).last_hidden_state
            reference = model.score(states[0, -1])
        assert score == pytest.approx(reference.item(), abs=1e-5)


def test_what_stands_beside_a_conversation_changes_nothing(random_judge):
    judge = RewardModel(random_judge, False, "cpu", torch.float32)
    together = judge.score(CONVERSATIONS, batch_size=4)
    assert together == pytest.approx(judge.score(CONVERSATIONS, batch_size=1), abs=1e-5)


@pytest.fixture
def copy(random_judge, tmp_path):
    """A reward model's folder to be damaged."""
    return shutil.copytree(random_judge, tmp_path / "judge")


def edit(path, **changes):
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def load(folder):
    return RewardModel(folder, False, "cpu", torch.float32)


@pytest.mark.parametrize(
    "tokens",
    [
        {"reward_token_id": None},
        {"pad_token_id": None},
        {"reward_token_id": 0, "pad_token_id": 0},
    ],
)
def test_a_token_for_the_reward_is_needed(copy, tokens):
    edit(copy / "config.json", **tokens)
    with pytest.raises(RewardModelError, match="needs a reward_token_id, and another pad_token_id"):
        load(copy)


def test_a_head_that_was_not_saved_is_no_head(copy):
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RewardModelError, match=r"lacks the weights score\.weight"):
        load(copy)


def test_a_classifier_is_no_reward_model(copy, tokenizer):
    LlamaForSequenceClassification.from_pretrained(
        copy, num_labels=2, ignore_mismatched_sizes=True
    ).save_pretrained(copy)
    with pytest.raises(RewardModelError, match="gives 2 scores"):
        load(copy)


def test_a_tokenizer_without_a_chat_template(copy):
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(RewardModelError, match="has no chat template"):
        load(copy)


def test_a_score_that_is_not_a_number(copy):
    model = LlamaForSequenceClassification.from_pretrained(copy)
    with torch.no_grad():
        model.score.weight.fill_(torch.nan)
    model.save_pretrained(copy)
    with pytest.raises(RewardModelError, match="scores that are not numbers"):
        load(copy).score(CONVERSATIONS, 4)
