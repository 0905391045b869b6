"""Answers of the model in this process."""

import threading
import time

import pytest
import torch
from conftest import load, plan_of
from conversation import Conversation
from generation import EngineError, Sampling
from prompts import PromptError, TooLong
from text_pieces import Detokenizer
from transformers_engine import TransformersEngine

GREEDY = Sampling(0.0, 1.0, 12)
QUESTION = [{"role": "user", "content": "第5号城市叫什么？"}]


def answer(served, sampling, messages=QUESTION):
    ids = served.prompts.ids(messages)
    pieces = list(served.engine.generate(ids, sampling, threading.Event()))
    return "".join(piece.text for piece in pieces), pieces


def test_greedy_answer_is_that_of_plain_generate(served):
    ids = served.prompts.ids(QUESTION)
    model, tokenizer = served.engine.model, served.prompts.tokenizer
    out = model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=12,
        do_sample=False,
        eos_token_id=served.engine.stop_ids,
        pad_token_id=0,
    )
    text, pieces = answer(served, GREEDY)
    expected = Detokenizer(tokenizer)
    assert text == "".join(map(expected.add, out[0, len(ids) :].tolist())) + expected.rest()
    assert len(pieces) > 3
    assert pieces[-1].tokens == 12
    assert [piece.finish for piece in pieces] == [None] * (len(pieces) - 1) + ["length"]


def test_stop_words_are_those_of_the_chat_template(served):
    tokens = served.prompts.tokenizer.convert_ids_to_tokens(served.engine.stop_ids)
    assert "<|im_end|>" in tokens


def test_end_of_turn_ends_the_answer(served, monkeypatch):
    _, pieces = answer(served, GREEDY)
    ids = served.prompts.ids(QUESTION)
    out = served.engine.model.generate(torch.tensor([ids]), max_new_tokens=4, do_sample=False)
    monkeypatch.setattr(served.engine, "stop_ids", [out[0, -1].item()])
    text, stopped = answer(served, GREEDY)
    assert stopped[-1].finish == "stop"
    assert stopped[-1].tokens <= 4 < pieces[-1].tokens
    assert "".join(piece.text for piece in pieces).startswith(text)


def test_same_seed_same_answer(served):
    warm = Sampling(1.5, 0.95, 12, seed=3)
    assert answer(served, warm)[0] == answer(served, warm)[0]
    others = {answer(served, Sampling(1.5, 0.95, 12, seed=seed))[0] for seed in range(4)}
    assert len(others) > 1


def test_without_a_seed_answers_differ(served):
    drawn = {answer(served, Sampling(2.0, 1.0, 12))[0] for _ in range(4)}
    assert len(drawn) > 1


def test_cancelled_answer_ends_soon(served):
    cancelled = threading.Event()
    ids = served.prompts.ids(QUESTION)
    started = time.monotonic()
    pieces = []
    for piece in served.engine.generate(ids, Sampling(0.0, 1.0, 1900), cancelled):
        pieces.append(piece)
        if len(pieces) == 3:
            cancelled.set()
    seconds = time.monotonic() - started
    assert len(pieces) < 10, seconds
    assert all(piece.finish is None for piece in pieces)


def test_an_error_in_the_model_is_told(served):
    with pytest.raises(EngineError, match="the model failed"):
        list(served.engine.generate([10**6], GREEDY, threading.Event()))
    assert answer(served, GREEDY)[1][-1].finish == "length"  # and the next one is answered


def test_half_the_memory(made):
    served = load(plan_of(made / "qwen_chat", dtype="bfloat16"))
    assert served.engine.model.dtype == torch.bfloat16
    assert answer(served, GREEDY)[1][-1].tokens == 12


def test_missing_weights_are_told(made, tmp_path, served):
    from safetensors.torch import load_file, save_file

    folder = made / "qwen_chat"
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    lost = "model.layers.1.mlp.up_proj.weight"
    del weights[lost]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EngineError, match=lost):
        TransformersEngine(tmp_path, served.prompts.tokenizer, [3], "float32", trusted=False)


def test_conversation_goes_on(served):
    conversation = Conversation(served)
    for question in ("第1号？", "第2号？"):
        for _ in conversation.ask(question, GREEDY):
            pass
    assert [turn["role"] for turn in conversation.turns] == ["user", "assistant"] * 2
    read = served.prompts.ids(conversation.turns[:3])
    assert len(read) > len(served.prompts.ids(conversation.turns[2:3]))


def test_oldest_turns_are_left_out_when_they_no_longer_fit(served):
    turns = [
        {"role": role, "content": f"第{n}号城市的名字是城{n}。" * 4}
        for n in range(60)
        for role in ("user", "assistant")
    ]
    conversation = Conversation(served, turns=turns)
    (*_, last) = conversation.ask("第5号？", GREEDY)
    assert last.finish == "length"
    assert conversation.forgotten > 0
    assert conversation.forgotten % 2 == 0


def test_a_question_that_is_too_long_is_not_kept(served):
    conversation = Conversation(served)
    with pytest.raises(TooLong, match="the model can read 2048"):
        list(conversation.ask("城" * 2100, GREEDY))
    assert conversation.turns == []


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "system", "content": "x"}],
        [*QUESTION, {"role": "assistant", "content": "x"}],
        [*QUESTION, {"role": "system", "content": "x"}, *QUESTION],
    ],
)
def test_no_question_no_prompt(served, messages):
    with pytest.raises(PromptError):
        served.prompts.ids(messages)
