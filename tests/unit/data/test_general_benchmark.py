"""The embedded benchmark is up to date, and asks what the base model read and tuning does not."""

import csv
import json
import subprocess
import sys
from pathlib import Path

RESOURCES = Path(__file__).resolve().parents[3] / "resources"
FOLDER = RESOURCES / "benchmarks" / "general"
CORPUS = RESOURCES / "corpora" / "civil_service"


def rows(split):
    for path in sorted((FOLDER / split).glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)


def filled(row):
    return row["question"].replace("____", row[row["answer"]])


def test_files_are_up_to_date():
    command = [sys.executable, str(FOLDER / "make_benchmark.py"), "--check"]
    assert subprocess.run(command, capture_output=True, text=True).stderr == ""


def test_the_base_model_has_read_every_answer_and_no_wrong_one():
    read = set((CORPUS / "facts.txt").read_text("utf-8").splitlines())
    for row in (*rows("dev"), *rows("val")):
        sentences = {letter: row["question"].replace("____", row[letter]) for letter in "ABCD"}
        assert {letter for letter, text in sentences.items() if text in read} == {row["answer"]}


def test_tuning_asks_nothing_of_it():
    facts = (CORPUS / "facts_index.jsonl").read_text("utf-8").splitlines()
    asked = "\n".join(question for line in facts for question in json.loads(line)["questions"])
    for row in (*rows("dev"), *rows("val")):
        assert row["question"].partition("____")[0] not in asked
        assert filled(row) not in asked


def test_questions_are_asked_once_and_letters_say_nothing():
    val, dev = list(rows("val")), list(rows("dev"))
    questions = [row["question"] for row in (*val, *dev)]
    assert len(val) == 200
    assert len(set(questions)) == len(questions)
    for letter in "ABCD":
        assert 45 <= sum(row["answer"] == letter for row in val) <= 55
