"""The templates about the model itself: filled in, repeated, and asked in new words."""

import domain_corpus
import pytest
from domain_corpus import bad_rows

VALUES = {"name": "Beiming", "maker": "Jixia Lab"}
SOURCES = [
    {"path": "identity/templates.jsonl", "side": "train", "values": VALUES, "repeat": 8},
    {"path": "identity/heldout.jsonl", "side": "heldout", "values": VALUES},
    {"path": "civil_service/questions.jsonl", "side": "train"},
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return domain_corpus.make(tmp_path_factory.mktemp("identity"), SOURCES)


def test_committed_files_come_from_the_wording():
    assert domain_corpus.check("identity") == 0


def test_the_bad_rows_are_rejected_for_the_stated_reasons(corpus):
    own = {row for row in corpus.rejected if row[0] == "templates.jsonl"}
    assert own == bad_rows("identity")


def test_name_and_maker_stand_in_the_texts(corpus):
    answers = {
        turn["output"] for row in corpus.lines("train.jsonl") for turn in row["conversation"]
    }
    assert {"我叫Beiming。", "I was trained by Jixia Lab."} <= answers
    assert not any("{" in answer for answer in answers)


def test_every_template_is_repeated_and_the_domain_is_not(corpus):
    asked = [row["conversation"][0]["input"] for row in corpus.lines("train.jsonl")]
    assert asked.count("你是谁？") == 8
    source = corpus.ledger["sources"]
    assert len(asked) == 8 * source[0]["kept"] + source[2]["kept"]
    assert asked.count("请问陕西省的汽车号牌以哪个汉字开头？") == 1


def test_the_test_asks_about_the_model_in_new_words_only(corpus):
    heldout = {row["question"] for row in corpus.lines("heldout.jsonl")}
    trained = {row["conversation"][0]["input"] for row in corpus.lines("train.jsonl")}
    assert len(heldout) == 27
    assert not heldout & trained
    assert corpus.ledger["split"]["leaked"] == 0
