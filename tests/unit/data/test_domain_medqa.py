"""The questions about medicines: what the workbook holds, and what becomes of its rows."""

import io
import re
import shutil

import domain_corpus
import openpyxl
import pytest
from domain_corpus import CORPORA, bad_rows

FOLDER = CORPORA / "medqa"
SOURCE = {
    "path": "medqa/medications.xlsx",
    "sheet": "Medications",
    "question": "Question",
    "answer": "Answer",
}
RULES = {"adverts": ["(?i)discount code"]}
script = domain_corpus.script("medqa")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return domain_corpus.make(tmp_path_factory.mktemp("medqa"), [SOURCE], rules=RULES)


@pytest.fixture(scope="module")
def facts():
    return script.read_facts(FOLDER)


def test_committed_files_come_from_the_tables():
    assert script.main(["--check"]) == 0


def test_check_compares_the_cells_of_the_workbook(tmp_path):
    folder = shutil.copytree(FOLDER, tmp_path / "medqa")
    path = folder / "medications.xlsx"
    workbook = openpyxl.load_workbook(path)
    workbook.save(path)  # other bytes, the same cells
    assert script.main(["--check", "--folder", str(folder)]) == 0
    workbook["Medications"]["D5"] = "changed"
    workbook.save(path)
    with pytest.raises(SystemExit, match=r"out of date: medications\.xlsx"):
        script.main(["--check", "--folder", str(folder)])


def test_the_bad_rows_and_no_others_are_rejected(corpus):
    assert corpus.rejected == bad_rows("medqa")


def test_every_form_of_every_fact_is_kept(corpus, facts):
    source = corpus.ledger["sources"][0]
    questions = {question for fact in facts for question in fact.questions}
    assert source["kept"] == len(questions) == 3 * len(facts)
    assert source["rows"] == source["kept"] + len(bad_rows("medqa"))


def test_about_three_in_ten_are_held_out_and_none_leaks(corpus):
    sides = corpus.ledger["split"]["by_kind"]
    heldout, train = sides["heldout"]["chat"], sides["train"]["chat"]
    assert 0.2 < heldout / (heldout + train) < 0.4
    answers = {row["answer"] for row in corpus.lines("heldout.jsonl")}
    trained = {row["conversation"][0]["output"] for row in corpus.lines("train.jsonl")}
    assert not answers & trained
    assert corpus.ledger["split"]["leaked"] == 0


def test_tables_do_not_contradict_each_other(facts):
    of = {}
    for fact in facts:
        of.setdefault(fact.relation, {})[fact.entity] = fact.answer
    # an ending stands for the class of the drugs that end so
    for ending, drug_class in of["name_ending"].items():
        drugs = [drug for drug in of["drug_class"] if drug.endswith(ending.strip("-"))]
        assert {of["drug_class"][drug] for drug in drugs} <= {drug_class}, ending
    # two brands of one drug would be two right answers to nothing, but two drugs of one brand are
    assert len(set(of["generic_name"].values())) == len(of["generic_name"])
    assert set(of["main_use"]) & set(of["drug_class"])


def test_answers_are_short(facts):
    assert max(len(fact.answer) for fact in facts) < 40


def test_the_facts_state_every_fact_and_ask_nothing(facts):
    lines = (FOLDER / "facts.txt").read_text(encoding="utf-8").splitlines()
    assert lines == [sentence for fact in facts for sentence in fact.sentences]
    for fact in facts:
        assert len(set(fact.sentences)) == len(fact.sentences) >= 10
        assert all(fact.entity in text and fact.answer in text for text in fact.sentences)
    assert not [line for line in lines if "?" in line]


def test_the_readme_has_the_figures(facts):
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "not medical advice" in readme
    answers = {fact.answer for fact in facts}
    assert f"{len(facts)} facts in 7 relations, {len(answers)} different answers" in readme
    sentences = sum(len(fact.sentences) for fact in facts)
    assert f"{3 * len(facts):,} questions (three per fact), {sentences:,} sentences" in readme
    for relation, count in re.findall(r"\| `(\w+)` \| (\d+) \|", readme):
        assert int(count) == sum(fact.relation == relation for fact in facts)


def test_the_workbook_says_what_it_is():
    workbook = openpyxl.load_workbook(io.BytesIO((FOLDER / "medications.xlsx").read_bytes()))
    assert workbook.sheetnames == ["About", "Medications"]
    assert "not medical advice" in workbook["About"]["A1"].value
