"""Files of OpenCompass that do not add up are not believed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import qa_rows
from opencompass_results import ResultError, read_results
from question_files import Benchmark

QUESTIONS = qa_rows(4)
BENCHMARK = Benchmark("heldout", "qa", QUESTIONS, "generation")


def files() -> dict[str, Any]:
    """What OpenCompass 0.5.4 writes for four questions, the first two of them answered well."""
    given = ["巴黎", "东京。", "", "希腊"]
    predictions = {
        str(i): {
            "origin_prompt": [{"role": "HUMAN", "prompt": row["question"]}],
            "prediction": given[i],
            "gold": row["answer"],
        }
        for i, row in enumerate(QUESTIONS)
    }
    details = [
        {
            "example_abbr": f"heldout_{i}",
            "id": [row["id"]],
            "pred": [given[i]],
            "answer": [row["answer"]],
            "correct": [i < 2],
            "exact_match": [i < 2],
        }
        for i, row in enumerate(QUESTIONS)
    ]
    return {
        "predictions/tuned/heldout.json": predictions,
        "results/tuned/heldout.json": {"exact_match": 50.0, "details": details},
        "predictions/tuned/timer/time.jsonl": {"dataset_name": "heldout", "time": 1.5},
    }


def write(folder: Path, content: dict[str, Any]) -> Path:
    for name, value in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
    return folder


def test_scores_are_fractions_and_answers_keep_their_order(tmp_path: Path) -> None:
    score, rows = read_results(write(tmp_path, files()), "tuned", BENCHMARK)
    assert score == {"n": 4, "metrics": {"exact_match": 0.5}, "seconds": 1.5}
    assert [row["id"] for row in rows] == ["q0", "q1", "q2", "q3"]
    assert rows[1] == {
        "benchmark": "heldout",
        "id": "q1",
        "question": "日本的首都是哪里？",
        "answer": "东京",
        "prediction": "东京。",
        "correct": True,
        "exact_match": True,
    }


def test_each_question_is_asked_with_its_own_system_prompt(tmp_path: Path) -> None:
    questions = [{**QUESTIONS[0], "system": "甲"}, *QUESTIONS[1:]]
    benchmark = Benchmark("heldout", "qa", questions, "generation")
    for system in ("", "乙"):
        content = files()
        prompts = content["predictions/tuned/heldout.json"]
        for i, own in enumerate(["甲", *[system] * 3]):
            prompts[str(i)]["origin_prompt"].insert(0, {"role": "SYSTEM", "prompt": own})
        read_results(write(tmp_path, content), "tuned", benchmark, system)
        prompts["1"]["origin_prompt"][0]["prompt"] = "甲"
        with pytest.raises(ResultError, match="question 'q1': the model was asked"):
            read_results(write(tmp_path, content), "tuned", benchmark, system)


def _lose_prediction(content: dict[str, Any]) -> None:
    del content["predictions/tuned/heldout.json"]["3"]


def _swap_questions(content: dict[str, Any]) -> None:
    predictions = content["predictions/tuned/heldout.json"]
    predictions["0"], predictions["1"] = predictions["1"], predictions["0"]


def _other_reference(content: dict[str, Any]) -> None:
    content["predictions/tuned/heldout.json"]["2"]["gold"] = "伦敦"


def _system_prompt(content: dict[str, Any]) -> None:
    content["predictions/tuned/heldout.json"]["0"]["origin_prompt"][0]["role"] = "SYSTEM"


def _lose_detail(content: dict[str, Any]) -> None:
    content["results/tuned/heldout.json"]["details"].pop()


def _no_details(content: dict[str, Any]) -> None:
    del content["results/tuned/heldout.json"]["details"]


def _evaluator_error(content: dict[str, Any]) -> None:
    content["results/tuned/heldout.json"] = {"error": "preds and refrs have different length"}


def _other_mean(content: dict[str, Any]) -> None:
    content["results/tuned/heldout.json"]["exact_match"] = 75.0


def _no_predictions(content: dict[str, Any]) -> None:
    del content["predictions/tuned/heldout.json"]


def _no_results(content: dict[str, Any]) -> None:
    del content["results/tuned/heldout.json"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_lose_prediction, "4 questions, but 3 predictions"),
        (_swap_questions, "question 'q0': the model was asked"),
        (_system_prompt, "question 'q0': the model was asked"),
        (_other_reference, "question 'q2': compared with '伦敦'"),
        (_lose_detail, "not the 4 that were asked"),
        (_no_details, "not the 4 that were asked"),
        (_evaluator_error, "different length"),
        (_other_mean, "reports exact_match 75.0"),
        (_no_predictions, "wrote no predictions/heldout.json"),
        (_no_results, "wrote no results/heldout.json"),
    ],
)
def test_damage_is_seen(
    tmp_path: Path, damage: Callable[[dict[str, Any]], None], message: str
) -> None:
    content = files()
    damage(content)
    with pytest.raises(ResultError, match=message):
        read_results(write(tmp_path, content), "tuned", BENCHMARK)
