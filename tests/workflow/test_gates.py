"""Gates and benchmarks of one's own, on a finished run: nothing is trained again."""

import csv
import json
import re
import shutil

import pytest
import yaml
from conftest import Clone

QUESTIONS = [
    {"question": "一年有几个季节？", "A": "二", "B": "四", "answer": "B"},
    {"question": "水在多少摄氏度沸腾？", "A": "五十", "B": "一百", "answer": "B"},
    {"question": "一个星期有几天？", "A": "七", "B": "八", "answer": "A"},
]


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished clone, which a test may change."""
    shutil.copytree(finished.folder, tmp_path / "clone", symlinks=True)
    return Clone(tmp_path / "clone")


def run_with(clone, evaluation):
    """Run the clone with an overlay; returns its output, its status, and the rules done."""
    overlay = clone.folder / "mine.yaml"
    overlay.write_text(yaml.safe_dump({"evaluation": evaluation}, allow_unicode=True))
    result = clone.snakemake("--cores", "all", "--configfile", "mine.yaml")
    finished = set(re.findall(r"Finished jobid: \d+ \(Rule: (\w+)\)", result.stdout))
    return result.stdout, result.returncode, finished


def test_a_gate_fails_the_run_after_its_report(copied):
    page = copied.folder / "results/civil_service/report.html"
    gates = ["tuned on heldout >= 1", "tuned - base on heldout <= 2"]
    said, status, _ = run_with(copied, {"gates": gates})
    assert status != 0
    assert "gates: 'tuned - base on heldout <= 2' does not hold in tiny-qlora: tuned has" in said
    assert "'tuned on heldout >= 1' does not hold" not in said
    assert "DOES NOT HOLD" in page.read_text("utf-8")
    assert not (copied.folder / "results/civil_service/gates.json").exists()
    said, status, done = run_with(copied, {"gates": gates[:1]})
    assert status == 0, said
    assert done - {"all"} == {"report", "gates"}
    (row,) = json.loads((copied.folder / "results/civil_service/gates.json").read_text("utf-8"))
    assert row["gate"] == gates[0] and row["points"] > 50


def test_questions_of_ones_own(copied):
    """What the tiny model answers is mostly no choice: it has never seen a letter. One of the
    variants is asked through the API, which tells no likelihoods."""
    path = copied.folder / "exam.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in QUESTIONS))
    said, status, done = run_with(
        copied,
        {
            "variants": ["base", "tuned", "served"],
            "benchmarks": ["exam", "general"],
            "local": {"exam": {"path": "exam.jsonl", "instruction": "选一项。"}},
        },
    )
    assert status == 0, said
    assert not done & {"clean", "conversations", "train", "merge_adapter", "quantize_awq"}
    assert {"local_benchmark", "evaluate", "evaluate_served", "collect_scores", "report"} <= done
    run = copied.folder / "results/civil_service/tiny-qlora"
    for answers in (
        *(run.parent / "evaluation/tiny", run / "evaluation/tuned"),
        run / "evaluation/served",
    ):
        metrics = json.loads((answers / "metrics.json").read_text("utf-8"))
        exam = metrics["benchmarks"]["exam"]
        assert (exam["mode"], exam["n"]) == ("generation", 3)
        lines = (answers / "predictions.jsonl").read_text("utf-8").splitlines()
        rows = [row for row in map(json.loads, lines) if row["benchmark"] == "exam"]
        assert [row["correct"] for row in rows] == [row["choice"] == row["answer"] for row in rows]
        assert exam["metrics"]["no_choice"] == sum(row["choice"] is None for row in rows) / 3
    with (run / "questions.csv").open(encoding="utf-8-sig", newline="") as file:
        table = [row for row in csv.DictReader(file) if row["benchmark"] == "exam"]
    assert {row["question"] for row in table} == {row["question"] for row in QUESTIONS}
    scores = (run / "scores.csv").read_text("utf-8").splitlines()
    assert "civil_service,tiny-qlora,served,general,not_asked,,0," in scores
    assert not any("served,general,accuracy" in row for row in scores)
    page = (copied.folder / "results/civil_service/report.html").read_text("utf-8")
    assert "not asked" in page
