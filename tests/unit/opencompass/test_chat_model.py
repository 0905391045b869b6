"""The model sees the token ids of the chat template, and is scored as transformers would."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CAPITALS, qa_rows
from domain_evaluation.chat_model import ChatModel
from opencompass.utils.prompt import PromptList
from opencompass_config import Setting, model_config
from transformers import AutoModelForCausalLM, AutoTokenizer


def load(folder: Path, context: int = 128) -> ChatModel:
    config = model_config("tuned", folder, folder, context, Setting("cpu", 4, 8))
    for key in ("type", "abbr", "run_cfg", "max_out_len", "batch_size"):
        del config[key]
    return ChatModel(**config)


@pytest.fixture(scope="module")
def model(trained_folder: Path) -> ChatModel:
    return load(trained_folder)


def prompts(system: str = "") -> list[PromptList]:
    begin = [{"role": "SYSTEM", "prompt": system}] if system else []
    return [PromptList([*begin, {"role": "HUMAN", "prompt": row["question"]}]) for row in qa_rows()]


def messages(system: str, question: str) -> list[dict[str, str]]:
    begin = [{"role": "system", "content": system}] if system else []
    return [*begin, {"role": "user", "content": question}]


@pytest.mark.parametrize("system", ["", "你是一位老师。\n"])
def test_generation_reads_the_ids_of_the_chat_template(
    model: ChatModel, trained_folder: Path, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(trained_folder)
    seen: dict[str, Any] = {}
    generate = model.model.generate

    def spy(**kwargs: Any) -> Any:
        seen.update(kwargs)
        return generate(**kwargs)

    monkeypatch.setattr(model.model, "generate", spy)
    model.generate(prompts(system), 4)
    for row, ids, mask in zip(qa_rows(), seen["input_ids"], seen["attention_mask"], strict=True):
        expected = tokenizer.apply_chat_template(
            messages(system, row["question"]), add_generation_prompt=True
        )
        assert ids[mask.bool()].tolist() == expected
        assert expected.count(tokenizer.bos_token_id) == 1


def test_generation_is_greedy_and_ends_with_the_turn(
    model: ChatModel, trained_folder: Path
) -> None:
    assert model.generate(prompts(), 16) == list(CAPITALS.values())
    # the end of the turn, which is not the tokenizer's EOS
    assert model.tokenizer.convert_ids_to_tokens(model.stop_ids) == ["<|im_end|>", "</s>"]


def test_settings_of_the_model_folder_do_not_count(trained_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "penalty"
    shutil.copytree(trained_folder, folder)
    settings = {"do_sample": True, "temperature": 5.0, "repetition_penalty": 9.0, "eos_token_id": 5}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    assert load(folder).generate(prompts(), 16) == list(CAPITALS.values())


def test_option_scores_agree_with_plain_transformers(
    model: ChatModel, trained_folder: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(trained_folder)
    reference = AutoModelForCausalLM.from_pretrained(trained_folder, torch_dtype=torch.float32)
    options = ["巴黎", "奥斯陆的首都", "x"]
    scores = model.score_options(prompts()[:3], options)
    for row, option, score in zip(qa_rows(3), options, scores, strict=True):
        prompt = tokenizer.apply_chat_template(
            messages("", row["question"]), add_generation_prompt=True
        )
        answer = tokenizer(option + "<|im_end|>", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = reference(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        each = [logits[len(prompt) - 1 + i, token].item() for i, token in enumerate(answer)]
        assert score.text == pytest.approx(sum(each[:-1]), abs=1e-3)
        assert score.end == pytest.approx(each[-1], abs=1e-3)


@pytest.mark.parametrize("marks_beginning", [True, False])
def test_text_scores_agree_with_plain_transformers(
    trained_folder: Path, tmp_path: Path, marks_beginning: bool
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(trained_folder, folder)
    if not marks_beginning:
        tokenizer_file = folder / "tokenizer.json"
        settings = json.loads(tokenizer_file.read_text("utf-8"))
        settings["post_processor"] = None
        tokenizer_file.write_text(json.dumps(settings), "utf-8")
    model = load(folder)
    reference = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32)
    cases = [
        ("法国的首都是", ["巴黎。", "东京。"]),
        ("", ["巴黎是首都", "东京是首都", "法国的"]),
        # a way that another one begins with is not without likelihood
        ("日本的", ["首都", "首都是东京"]),
        # one token each
        ("答案：", ["A", "B", "C", "D"]),
    ]
    found = model.score_ways(*map(list, zip(*cases, strict=True)))
    for (text, ways), scores in zip(cases, found, strict=True):
        ids = [model.tokenizer(text + way)["input_ids"] for way in ways]
        rows = [model.tokenizer(text)["input_ids"], *ids]
        shared = next((n for n, x in enumerate(zip(*rows, strict=False)) if len(set(x)) > 1), None)
        shared = min(map(len, rows)) if shared is None else shared
        assert text or bool(shared) == marks_beginning
        for row, score in zip(ids, scores, strict=True):
            row = row if shared else [model.stop_ids[-1], *row]
            with torch.no_grad():
                logits = reference(torch.tensor([row])).logits[0].log_softmax(-1)
            each = [logits[p - 1, row[p]].item() for p in range(shared or 1, len(row))]
            assert score.text == pytest.approx(sum(each), abs=1e-3)
            assert score.text < 0
            assert score.end == 0.0


def test_nothing_is_truncated(trained_folder: Path) -> None:
    model = load(trained_folder, context=20)
    with pytest.raises(ValueError, match="the model has 20"):
        model.generate(prompts(), 16)
    with pytest.raises(ValueError, match="the model has 20"):
        model.score_options(prompts()[:1], ["巴黎" * 20])


def test_missing_weights_are_an_error(model_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "incomplete"
    shutil.copytree(model_folder, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"missing: model\.layers\.1\.mlp\.up_proj"):
        load(folder)


def test_likelihoods_that_are_no_numbers_are_an_error(model_folder: Path) -> None:
    model = load(model_folder)
    torch.nn.init.constant_(model.model.model.norm.weight, torch.inf)
    with pytest.raises(ValueError, match="is not a number"):
        model.score_options(prompts()[:1], ["巴黎"])


def test_a_tokenizer_without_chat_template_is_an_error(model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    shutil.copytree(model_folder, folder)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="no chat template"):
        load(folder)
