"""The recipes: rows of a dump become questions, all titles of a dish are on one side."""

import domain_corpus
import pytest
from domain_corpus import CORPORA, bad_rows

SOURCE = {
    "path": "recipe/recipes.jsonl",
    "question": "{name}怎么做？",
    "answer": "用料：\n{recipeIngredient|lines}\n做法：\n{recipeInstructions|numbered}",
}
SAMPLE = 320
script = domain_corpus.script("recipe")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return domain_corpus.make(tmp_path_factory.mktemp("recipe"), [SOURCE])


@pytest.fixture(scope="module")
def sampled(tmp_path_factory):
    source = SOURCE | {"sample": SAMPLE, "sample_of": 0}
    return domain_corpus.make(tmp_path_factory.mktemp("sampled"), [source])


@pytest.fixture(scope="module")
def dishes():
    return script.read_table(CORPORA / "recipe" / "tables" / "dishes.tsv", script.COLUMNS)


def dish_of(question, dishes):
    """The dish that a question asks for: the longest name that it ends with."""
    title = question.removesuffix("怎么做？")
    return max((d["dish"] for d in dishes if title.endswith(d["dish"])), key=len)


def test_committed_files_come_from_the_table():
    assert domain_corpus.check("recipe") == 0


def test_the_bad_rows_and_no_others_are_rejected(corpus):
    assert corpus.rejected == bad_rows("recipe")


def test_every_title_of_every_dish_becomes_a_question(corpus, dishes):
    source = corpus.ledger["sources"][0]
    assert source["kept"] == script.TITLES * len(dishes)
    assert source["rows"] == source["kept"] + len(bad_rows("recipe"))


def test_an_answer_lists_ingredients_and_numbers_the_steps(corpus):
    answers = {row["conversation"][0]["output"] for row in corpus.lines("train.jsonl")}
    answers |= {row["answer"] for row in corpus.lines("heldout.jsonl")}
    assert (
        "用料：\n西红柿\n鸡蛋\n葱\n盐\n糖\n做法：\n"
        "1. 鸡蛋打散，炒熟盛出\n2. 西红柿切块，炒出汁\n3. 倒回鸡蛋，加盐和糖炒匀"
    ) in answers


def test_a_dish_is_on_one_side(corpus, dishes):
    trained = [row["conversation"][0]["input"] for row in corpus.lines("train.jsonl")]
    heldout = [row["question"] for row in corpus.lines("heldout.jsonl")]
    assert len(trained) > len(heldout) > 60
    assert not {dish_of(q, dishes) for q in trained} & {dish_of(q, dishes) for q in heldout}
    assert corpus.ledger["split"]["leaked"] == 0


def test_a_sample_is_counted_and_moves_no_dish_to_the_other_side(corpus, sampled):
    source = sampled.ledger["sources"][0]
    assert source["kept"] + sum(source["rejected"].values()) == SAMPLE
    assert source["rows"] == SAMPLE + source["not_sampled"]
    assert sampled.rejected < corpus.rejected
    for name, asked in (
        ("train.jsonl", lambda row: row["conversation"][0]["input"]),
        ("heldout.jsonl", lambda row: row["question"]),
    ):
        part, whole = ({asked(row) for row in c.lines(name)} for c in (sampled, corpus))
        # a bad row that was not drawn cannot contradict one that was
        assert {q for q in part if "神秘" not in q} < whole


def test_many_rows_do_not_name_the_dish():
    text = (CORPORA / "recipe" / "recipes.jsonl").read_text(encoding="utf-8")
    assert 0.2 < text.count('"dish": "Unknown"') / text.count('"dish": ') < 0.4


def test_the_facts_state_every_dish_and_ask_nothing(dishes):
    text = (CORPORA / "recipe" / "facts.txt").read_text(encoding="utf-8")
    assert "？" not in text and "怎么" not in text and "\n1. " not in text
    for dish in dishes:
        for column in script.COLUMNS[2:]:
            assert text.count(dish[column]) >= 5, dish["dish"]


def test_a_table_with_a_dish_twice_is_refused(tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    row = "红烧肉\t家常菜\t五花肉\t切\t煮\t吃\n"
    (folder / "dishes.tsv").write_text("\t".join(script.COLUMNS) + "\n" + 2 * row, "utf-8")
    with pytest.raises(ValueError, match=r"dishes\.tsv, line 3: given twice: 红烧肉"):
        script.build(tmp_path)
