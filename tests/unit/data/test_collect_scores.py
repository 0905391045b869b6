"""One table of all variants, if they can be compared."""

import csv
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "workflow/scripts/evaluation"))

import collect_scores


def _metrics(variant: str, **backend: object) -> dict:
    return {
        "variant": variant,
        "backend": {"device": "cpu", "dtype": "float32", **backend},
        "benchmarks": {
            "heldout": {"n": 3, "metrics": {"exact_match": 2 / 3, "contains": 1.0}, "seconds": 1},
            "heldout_mcq": {"n": 2, "metrics": {"accuracy": 0.5}, "seconds": 1},
        },
    }


def _collect(tmp_path: Path, *variants: dict, answers: dict | None = None) -> str:
    paths, given = [], []
    for variant in variants:
        name = variant["variant"]
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(variant))
        given.append(tmp_path / f"{name}.jsonl")
        rows = (answers or {}).get(name, [])
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        given[-1].write_text(text, "utf-8")
    scores, questions = tmp_path / "scores.csv", tmp_path / "questions.csv"
    arguments = ["--domain", "d", "--run", "r", "--scores", str(scores)]
    arguments += ["--variants", *(variant["variant"] for variant in variants)]
    arguments += ["--questions", str(questions), "--metrics", *map(str, paths)]
    collect_scores.main([*arguments, "--predictions", *map(str, given)])
    return scores.read_text()


def _answer(number: int, prediction: str, correct: bool, **more: object) -> dict:
    row = {"benchmark": "heldout", "id": f"q{number}", "question": f"{number}？", "answer": "对"}
    metrics = dict.fromkeys(("exact_match", "contains"), correct)
    return {**row, "prediction": prediction, "correct": correct, **metrics, **more}


def test_every_question_with_all_answers_wrong_ones_first(tmp_path: Path) -> None:
    options = {"options": {"A": "甲", "B": "乙"}, "subject": "law", "benchmark": "exam"}
    answers = {
        "base": [
            *(_answer(0, "错", False), _answer(1, "对", True), _answer(2, "错\u2028", False)),
            _answer(3, "=1+1", False, choice=None, **options),
        ],
        "tuned": [
            *(_answer(0, "对", True), _answer(1, "错", False), _answer(2, "对", True)),
            _answer(3, "B", True, choice="B", **options),
        ],
        "awq": [
            *(_answer(0, "对", True), _answer(1, "对", True), _answer(2, "", False)),
            _answer(3, "B", True, choice="B", **options),
        ],
    }
    _collect(tmp_path, *map(_metrics, answers), answers=answers)
    with (tmp_path / "questions.csv").open(encoding="utf-8-sig", newline="") as file:
        heading, *rows = csv.reader(file)
    assert heading == [
        *("benchmark", "subject", "id", "question", "options", "expected"),
        *("base", "base right", "tuned", "tuned right", "awq", "awq right"),
        *("base chooses", "tuned chooses", "awq chooses"),
    ]
    # one wrong after tuning: first where the base was right; what the base alone got wrong is last
    assert [row[2] for row in rows] == ["q1", "q2", "q0", "q3"]
    assert rows[0][6:12] == ["对", "1", "错", "0", "对", "1"]
    # no formula in a spreadsheet
    exam = ["exam", "law", "q3", "3？", "A. 甲\nB. 乙", "对", "'=1+1", "0", "B", "1", "B", "1"]
    assert rows[3] == [*exam, "", "B", "B"]


def test_what_one_variant_is_not_asked(tmp_path: Path) -> None:
    """It has a row of its own, and is compared between the others all the same."""
    here = {"options": "log-likelihood", "model_class": "here"}
    base, tuned = _metrics("base", **here), _metrics("tuned", **here)
    served = _metrics("served", model_class="api")
    choice = {"benchmark": "heldout_mcq", "id": "q0", "question": "0？", "answer": "A"}
    right, wrong = ({"correct": correct, "accuracy": correct} for correct in (True, False))
    answers = {
        "base": [_answer(0, "错", False), choice | {"prediction": "B", **wrong}],
        "served": [_answer(0, "对", True)],
        "tuned": [_answer(0, "对", True), choice | {"prediction": "A", **right}],
    }
    del served["benchmarks"]["heldout_mcq"]
    with pytest.raises(SystemExit, match="were evaluated differently: options"):
        _collect(tmp_path, base, served, tuned, answers=answers)
    served["not_asked"] = {"heldout_mcq": "options"}
    rows = _collect(tmp_path, base, served, tuned, answers=answers).splitlines()
    assert [row for row in rows if "served" in row] == [
        "d,r,served,heldout,exact_match,0.666667,3,1.0",
        "d,r,served,heldout,contains,1.000000,3,1.0",
        "d,r,served,heldout_mcq,not_asked,,0,",
    ]
    with (tmp_path / "questions.csv").open(encoding="utf-8-sig", newline="") as file:
        table = {row["benchmark"]: row for row in csv.DictReader(file)}
    assert (table["heldout"]["served"], table["heldout"]["served right"]) == ("对", "1")
    assert (table["heldout_mcq"]["served"], table["heldout_mcq"]["served right"]) == (
        *("not asked", ""),
    )
    tuned["benchmarks"]["heldout_mcq"]["n"] = 1
    with pytest.raises(SystemExit, match="'base' and 'tuned' were asked different questions"):
        _collect(tmp_path, base, served, tuned, answers=answers)


def test_answers_to_other_questions_are_not_put_together(tmp_path: Path) -> None:
    answers = {"base": [_answer(0, "对", True)], "tuned": [_answer(1, "对", True)]}
    with pytest.raises(SystemExit, match=r"'tuned' was asked .*q1.* where the others were .*q0"):
        _collect(tmp_path, *map(_metrics, answers), answers=answers)


def test_one_row_per_variant_benchmark_and_metric(tmp_path: Path) -> None:
    assert _collect(tmp_path, _metrics("base"), _metrics("tuned")).splitlines() == [
        "domain,run,variant,benchmark,metric,score,n,independent",
        "d,r,base,heldout,exact_match,0.666667,3,",
        "d,r,base,heldout,contains,1.000000,3,",
        "d,r,base,heldout_mcq,accuracy,0.500000,2,",
        "d,r,tuned,heldout,exact_match,0.666667,3,",
        "d,r,tuned,heldout,contains,1.000000,3,",
        "d,r,tuned,heldout_mcq,accuracy,0.500000,2,",
    ]


def test_questions_about_one_fact_are_worth_less(tmp_path: Path) -> None:
    """Four questions of two facts: one is known, asked in either way, and the other is not."""
    answers = [
        _answer(number, "", number < 2, answer="甲" if number < 2 else "乙") for number in range(4)
    ]
    exam = [row | {"benchmark": "exam"} for row in answers]
    metrics = _metrics("base")
    score = {"n": 4, "metrics": {"exact_match": 0.5}, "seconds": 1}
    metrics["benchmarks"] = {"heldout": score, "exam": score}
    rows = _collect(tmp_path, metrics, answers={"base": [*answers, *exam]}).splitlines()
    assert rows[1:] == [
        "d,r,base,heldout,exact_match,0.500000,4,2.0",
        "d,r,base,exam,exact_match,0.500000,4,4.0",
    ]


def test_every_stage_is_a_variant(tmp_path: Path) -> None:
    stages = ("base", "pt", "sft", "tuned")
    rows = _collect(tmp_path, *map(_metrics, stages)).splitlines()[1:]
    assert list(dict.fromkeys(row.split(",")[2] for row in rows)) == list(stages)
    assert len(rows) == 3 * len(stages)


REWARD = {
    "variant": "reward",
    "benchmarks": {"heldout_preference": {"n": 40, "metrics": {"accuracy": 0.825}}},
}


def test_the_reward_model_has_no_backend_to_compare(tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text(json.dumps(_metrics("base")))
    (tmp_path / "base.jsonl").write_text("")
    (tmp_path / "accuracy.json").write_text(json.dumps(REWARD))
    options = {
        "domain": "d",
        "run": "r",
        "variants": "base",
        "metrics": tmp_path / "base.json",
        "predictions": tmp_path / "base.jsonl",
        "questions": tmp_path / "questions.csv",
        "reward-accuracy": tmp_path / "accuracy.json",
        "scores": tmp_path / "scores.csv",
    }
    collect_scores.main(
        [part for key, value in options.items() for part in (f"--{key}", str(value))]
    )
    rows = (tmp_path / "scores.csv").read_text().splitlines()
    assert rows[-1] == "d,r,reward,heldout_preference,accuracy,0.825000,40,"
    assert len(rows) == 5


def test_another_setting_is_not_compared(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="'base' and 'awq' were evaluated differently: dtype"):
        _collect(tmp_path, _metrics("base"), _metrics("awq", dtype="float16"))


def test_other_questions_are_not_compared(tmp_path: Path) -> None:
    other = _metrics("awq")
    other["benchmarks"]["heldout"]["n"] = 4
    with pytest.raises(SystemExit, match="'base' and 'awq' were asked different questions"):
        _collect(tmp_path, _metrics("base"), other)


def test_what_computes_in_4_bits_says_so(tmp_path: Path) -> None:
    int4 = _metrics("int4", dtype="bfloat16", weights="int4")
    assert "d,r,int4,heldout,exact_match" in _collect(tmp_path, _metrics("base"), int4)
    int4["backend"]["device"] = "cuda"
    with pytest.raises(SystemExit, match="'base' and 'int4' were evaluated differently: device"):
        _collect(tmp_path, _metrics("base"), int4)
