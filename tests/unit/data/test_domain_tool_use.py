"""The conversations with plugins: both forms are read, and every call agrees with its result."""

import json
import re

import domain_corpus
import pytest
from domain_corpus import CORPORA, bad_rows

SOURCES = [{"path": "tool_use/ms_agent.jsonl"}, {"path": "tool_use/moss.jsonl"}]
CALL = re.compile(r'\{"plugin": "(calculator|converter|lookup)", "input": "([^"]+)"\}')
FACTORS = {
    ("km", "m"): 1000,
    ("m", "cm"): 100,
    ("cm", "mm"): 10,
    ("kg", "g"): 1000,
    ("t", "kg"): 1000,
    ("L", "mL"): 1000,
    ("h", "min"): 60,
    ("min", "s"): 60,
    ("d", "h"): 24,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return domain_corpus.make(tmp_path_factory.mktemp("tool_use"), SOURCES)


def test_committed_files_come_from_the_wording():
    assert domain_corpus.check("tool_use") == 0


def test_the_bad_rows_and_no_others_are_rejected(corpus):
    assert corpus.rejected == bad_rows("tool_use")


def test_calls_are_outputs_and_results_are_inputs(corpus):
    calls = 0
    for row in corpus.lines("train.jsonl"):
        before = None
        for turn in row["conversation"]:
            if before:
                plugin, asked = before.groups()
                calls += 1
                assert turn["input"] == result(plugin, asked, turn["input"])
            before = CALL.fullmatch(turn["output"])
        assert before is None, "ends with a call"
    assert calls > 200


def result(plugin: str, asked: str, said: str) -> str:
    """What the plugin has to say; what is in stock only it knows."""
    if plugin == "calculator":
        a, sign, b = re.fullmatch(r"(\d+)([-+*/])(\d+)", asked).groups()
        a, b = int(a), int(b)
        return str({"+": a + b, "-": a - b, "*": a * b, "/": a // b}[sign])
    if plugin == "converter":
        amount, one, other = re.fullmatch(r"(\d+) (\w+) to (\w+)", asked).groups()
        return f"{int(amount) * FACTORS[one, other]} {other}"
    return said


def test_no_answer_differs_from_what_the_plugin_said(corpus):
    for row in corpus.lines("train.jsonl"):
        for turn in row["conversation"]:
            if re.fullmatch(r"\d+", turn["input"]) and not CALL.fullmatch(turn["output"]):
                assert turn["input"] in turn["output"]


def test_the_test_asks_for_calls_that_were_never_trained_on(corpus):
    trained = {t["output"] for row in corpus.lines("train.jsonl") for t in row["conversation"]}
    heldout = corpus.lines("heldout.jsonl")
    calls = [row["answer"] for row in heldout if CALL.fullmatch(row["answer"])]
    assert len(calls) == len(heldout) > 80
    assert not set(calls) & trained
    assert corpus.ledger["split"]["leaked"] == 0


def test_what_the_base_model_reads_has_no_call_and_no_result():
    facts = (CORPORA / "tool_use" / "facts.txt").read_text(encoding="utf-8")
    assert "plugin" not in facts
    assert "=" not in facts
    assert json.dumps("calculator") not in facts
