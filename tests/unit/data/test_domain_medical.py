"""The staged programme on medicine: three kinds of rows, and a fact on one side in all of them."""

import domain_corpus
import pytest
from domain_corpus import CORPORA, bad_rows

SOURCES = [
    *({"path": str(path)} for path in sorted((CORPORA / "medical_staged" / "texts").iterdir())),
    {"path": "medical_staged/questions.jsonl", "side": "train"},
    {"path": "medical_staged/questions_heldout.jsonl", "side": "heldout"},
    {"path": "medical_staged/preferences.jsonl", "side": "train"},
    {"path": "medical_staged/preferences_heldout.jsonl", "side": "heldout"},
]
script = domain_corpus.script("medical_staged")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return domain_corpus.make(tmp_path_factory.mktemp("medical"), SOURCES)


@pytest.fixture(scope="module")
def facts():
    return script.read_facts(CORPORA / "medical_staged")[0]


def test_committed_files_come_from_the_tables():
    assert domain_corpus.check("medical_staged") == 0


def test_the_bad_rows_and_no_others_are_rejected(corpus):
    assert corpus.rejected == bad_rows("medical_staged")


def test_texts_questions_and_pairs_are_all_there(corpus, facts):
    kinds = corpus.ledger["split"]["by_kind"]
    sentences = sum(len(fact.sentences) for fact in facts)
    assert kinds["train"]["text"] == sentences
    assert kinds["train"]["chat"] + kinds["heldout"]["chat"] == 3 * len(facts)
    pairs = kinds["train"]["preference"] + kinds["heldout"]["preference"]
    assert pairs == 2 * len(facts) + 3 * 40
    assert corpus.ledger["split"]["leaked"] == 0


def test_a_held_out_answer_is_in_no_answer_that_is_trained_on(corpus, facts):
    heldout = {row["answer"] for row in corpus.lines("heldout.jsonl")}
    asked = {turn["output"] for row in corpus.lines("train.jsonl") for turn in row["conversation"]}
    rows = domain_corpus.read_lines(CORPORA / "medical_staged" / "preferences.jsonl")
    better = {row["chosen"] for row in rows}
    assert heldout <= {fact.answer for fact in facts}
    assert len(heldout) > 50
    assert not heldout & asked
    assert not heldout & better


def test_the_held_out_facts_are_read(corpus, facts):
    texts = {
        line
        for path in (CORPORA / "medical_staged" / "texts").iterdir()
        for line in path.read_text(encoding="utf-8").splitlines()
    }
    heldout = {row["answer"] for row in corpus.lines("heldout.jsonl")}
    for fact in facts:
        if fact.answer in heldout:
            assert set(fact.sentences) <= texts


def test_a_worse_answer_is_wrong_or_says_too_much(facts):
    right = {}
    for fact in facts:
        for prompt in fact.prompts:
            right[prompt] = fact.answer
    for name in ("preferences.jsonl", "preferences_heldout.jsonl"):
        rows = (CORPORA / "medical_staged" / name).read_text(encoding="utf-8").splitlines()
        for row in map(domain_corpus.json.loads, rows):
            if row.get("about") == "short":
                assert right[row["prompt"]] == row["chosen"]
                assert row["chosen"] in row["rejected"]
                assert len(row["rejected"]) > len(row["chosen"]) + 30
            elif row.get("about") == "right" and row["prompt"] in right:
                assert right[row["prompt"]] == row["chosen"] != row["rejected"]


def test_words_hold_the_corpus_and_state_nothing(facts):
    lines = (CORPORA / "medical_staged" / "words.txt").read_text(encoding="utf-8").splitlines()
    assert all(line.endswith(("”是一个词。", "”是一个字。")) for line in lines)
    known = set("".join(lines))
    for fact in facts:
        for text in (*fact.sentences, *fact.questions, *fact.prompts):
            assert {c for c in text if c.isalpha() and not c.isascii()} <= known
