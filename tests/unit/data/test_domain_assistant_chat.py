"""The conversations: both forms are read, and a fact is in one conversation only."""

import json

import domain_corpus
import pytest
from domain_corpus import CORPORA, bad_rows

FOLDER = CORPORA / "assistant_chat"
SOURCES = [{"path": "assistant_chat/openai.jsonl"}, {"path": "assistant_chat/sharegpt.json"}]
script = domain_corpus.script("assistant_chat")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return domain_corpus.make(tmp_path_factory.mktemp("assistant_chat"), SOURCES)


@pytest.fixture(scope="module")
def topics():
    return script.read_topics(FOLDER)


def test_committed_files_come_from_the_tables():
    assert domain_corpus.check("assistant_chat") == 0


def test_the_bad_rows_and_no_others_are_rejected(corpus):
    assert corpus.rejected == bad_rows("assistant_chat")


def test_every_conversation_is_kept_in_both_forms(corpus, topics):
    each = sum(len(topic.rows) // topic.per_conversation for topic in topics)
    assert [source["kept"] for source in corpus.ledger["sources"]] == [each, each]


def test_conversations_are_trained_on_with_all_their_turns(corpus):
    turns = [len(row["conversation"]) for row in corpus.lines("train.jsonl")]
    assert set(turns) == {2, 3}


def test_both_wordings_of_a_conversation_are_on_one_side(corpus):
    rows = corpus.lines("train.jsonl")
    answers = {tuple(turn["output"] for turn in row["conversation"]) for row in rows}
    assert len(rows) == 2 * len(answers)
    asked = {turn["input"] for row in rows for turn in row["conversation"]}
    heldout = {row["question"] for row in corpus.lines("heldout.jsonl")}
    assert len(heldout) > 80
    assert not asked & heldout
    assert corpus.ledger["split"]["leaked"] == 0


def test_a_row_of_a_table_is_in_one_conversation_of_each_form(topics):
    for topic in topics:
        for wording in (0, 1):
            talks = script.conversations(topic, wording, script.random.Random(script.SEED))
            said = json.dumps(talks, ensure_ascii=False)
            for row in topic.rows:
                first = next(iter(row.values()))
                assert first in said or row["other"] in said, (topic.name, first)
            assert len(talks) * topic.per_conversation == len(topic.rows)


def test_the_facts_state_every_answer(topics):
    lines = set((FOLDER / "facts.txt").read_text(encoding="utf-8").splitlines())
    for topic in topics:
        for row in topic.rows:
            sentences = {text.format(**row) for text in topic.sentences}
            assert len(sentences) == len(topic.sentences)
            assert sentences <= lines


def test_first_questions_are_asked_once(topics):
    """One that opens two conversations would be contaminated by the other one of the two."""
    for wording in (0, 1):
        rng = script.random.Random(script.SEED)
        first = [
            talk[0][0] for topic in topics for talk in script.conversations(topic, wording, rng)
        ]
        assert len(set(first)) == len(first)


def test_rows_that_make_no_whole_conversation_are_refused(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "young.tsv").write_text("entity\tanswer\na dog\ta puppy\n", "utf-8")
    wording = "[young]\nrows = 2\nturns = []\nsentences = []\n"
    (tmp_path / "conversations.toml").write_text(wording, "utf-8")
    with pytest.raises(ValueError, match=r"young\.tsv: 1 rows are no multiple of 2"):
        script.build(tmp_path)
