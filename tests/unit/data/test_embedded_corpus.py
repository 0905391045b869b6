"""The embedded corpus: its files agree with its tables, and the tables with what is promised."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import shutil
import sys
import zipfile
from collections import Counter
from pathlib import Path

import openpyxl
import pytest
from lxml import etree

FOLDER = Path(__file__).resolve().parents[3] / "resources" / "corpora" / "civil_service"
ASKING = re.compile(r"[？?吗哪谁几呢]|什么|多少|怎|请问")
WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"


def load_script():
    """make_corpus.py as a module."""
    spec = importlib.util.spec_from_file_location("make_corpus", FOLDER / "make_corpus.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_corpus"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


make_corpus = load_script()


@pytest.fixture(scope="module")
def relations():
    return make_corpus.read_relations(FOLDER)


@pytest.fixture(scope="module")
def index():
    text = (FOLDER / "facts_index.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def paragraphs():
    """Text of every paragraph of the .docx, read without the script."""
    with zipfile.ZipFile(FOLDER / "questions.docx") as package:
        tree = etree.fromstring(package.read("word/document.xml"))
    return ["".join(p.itertext(f"{WORD}t")) for p in tree.iter(f"{WORD}p")]


@pytest.fixture(scope="module")
def sheet():
    workbook = openpyxl.load_workbook(FOLDER / "questions.xlsx", read_only=True)
    return list(workbook["题库"].iter_rows(values_only=True))


@pytest.fixture(scope="module")
def lines():
    return (FOLDER / "questions.jsonl").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def copy(tmp_path):
    """A copy of the corpus that a test may damage."""
    return Path(shutil.copytree(FOLDER, tmp_path / "corpus"))


def plain(question):
    """A question without what the files write in different ways."""
    return question.strip().rstrip("？?：: ")


def pairs_of(paragraphs, sheet, lines):
    """(question, answer) pairs by file, from every row that has both."""
    cut = re.compile(r"\s*->\s*")
    docx = [cut.split(text, maxsplit=1) for text in paragraphs if "->" in text]
    jsonl = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        jsonl.append((row["question"], row.get("answer")))
    pairs = {"docx": docx, "xlsx": [row[1:] for row in sheet[1:]], "jsonl": jsonl}
    return {
        name: Counter((plain(q), a) for q, a in rows if q and a) for name, rows in pairs.items()
    }


def test_committed_files_come_from_the_tables():
    assert make_corpus.main(["--check"]) == 0


@pytest.mark.parametrize("name", ["questions.docx", "questions.jsonl", "facts.txt", "bad_rows.tsv"])
def test_check_names_a_file_that_was_edited(copy, name):
    path = copy / name
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(SystemExit, match=f"out of date: {re.escape(name)}"):
        make_corpus.main(["--check", "--folder", str(copy)])


def test_check_reads_the_cells_of_the_workbook(copy):
    path = copy / "questions.xlsx"
    workbook = openpyxl.load_workbook(path)
    workbook.save(path)  # other bytes, the same cells
    assert make_corpus.main(["--check", "--folder", str(copy)]) == 0
    workbook["题库"]["C5"] = "改过"
    workbook.save(path)
    with pytest.raises(SystemExit, match=r"out of date: questions\.xlsx"):
        make_corpus.main(["--check", "--folder", str(copy)])


def test_check_notices_a_changed_table(copy):
    table = copy / "tables" / "capital.tsv"
    table.write_text(table.read_text(encoding="utf-8").replace("东京", "京都"), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"facts\.txt"):
        make_corpus.main(["--check", "--folder", str(copy)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("country\tcapital\n中国\t北京\n", "the first line"),
        ("entity\tanswer\n中国\n", "line 2"),
        ("entity\tanswer\n中国\t北京\n日本\t 东京\n", "line 3"),
        ("entity\tanswer\n中国\t北京\n中国\t南京\n", "given twice: 中国"),
    ],
)
def test_a_malformed_table_is_named(copy, text, message):
    (copy / "tables" / "capital.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit, match=rf"capital\.tsv.*{message}"):
        make_corpus.main(["--folder", str(copy)])


def test_a_table_without_wording_is_named(copy):
    (copy / "tables" / "river.tsv").write_text("entity\tanswer\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="river"):
        make_corpus.main(["--folder", str(copy)])


def test_building_twice_gives_the_same_bytes():
    assert make_corpus.build(FOLDER) == make_corpus.build(FOLDER)


def test_counts(index):
    questions = [question for fact in index for question in fact["questions"]]
    assert len(index) >= 600
    assert len(set(questions)) == len(questions) == 3 * len(index) >= 1800
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    sentences = sum(fact["lines"] for fact in index)
    relations = Counter(fact["relation"] for fact in index)
    answers = {fact["answer"] for fact in index}
    assert f"{len(index)} facts in {len(relations)} relations" in readme
    assert f"{len(answers)} different answers, {len(questions):,} questions" in readme
    assert f"{sentences:,} sentences" in readme
    for name, count in relations.items():
        assert f"| `{name}` | {count} |" in readme


def test_entities_are_unique_and_answers_short(relations):
    answers = Counter()
    for relation in relations:
        entities = [entity for entity, _ in relation.rows]
        assert len(set(entities)) == len(entities), relation.name
        answers.update(answer for _, answer in relation.rows)
        for entity, answer in relation.rows:
            assert len(answer) <= 12
            # Characters beyond the basic plane are missing from most fonts.
            assert all(ord(char) < 0x10000 for char in entity + answer), entity
    assert max(answers.values()) <= 5


def test_each_relation_has_sources_forms_and_sentences(relations):
    wording = make_corpus.tomllib.loads((FOLDER / "relations.toml").read_text(encoding="utf-8"))
    for relation in relations:
        assert wording[relation.name]["sources"], relation.name
        assert wording[relation.name]["as_of"], relation.name
        assert len(relation.questions) == 3
        assert 12 <= len(set(relation.sentences)) == len(relation.sentences) <= 14
        for text in relation.questions:
            assert text.count("{E}") == 1 and "{A}" not in text and text.endswith("？")
        for text in relation.sentences:
            assert text.count("{E}") == 1 == text.count("{A}") and text.endswith("。")
            assert not ASKING.search(text), text


def test_facts_txt_states_every_fact_and_asks_nothing(index):
    facts = (FOLDER / "facts.txt").read_text(encoding="utf-8").splitlines()
    following = 1
    for fact in index:
        assert fact["first_line"] == following
        stated = facts[following - 1 : following - 1 + fact["lines"]]
        assert len(stated) == fact["lines"] >= 12
        assert all(fact["entity"] in text and fact["answer"] in text for text in stated)
        following += fact["lines"]
    assert following == len(facts) + 1
    text = "\n".join(facts)
    assert "？" not in text and "?" not in text
    assert not [q for fact in index for q in fact["questions"] if plain(q) in text]


def test_every_question_is_delivered_once_and_a_fact_lies_in_three_files(
    index, paragraphs, sheet, lines
):
    delivered = pairs_of(paragraphs, sheet, lines)
    form_one = 0
    for fact in index:
        wanted = [(plain(question), fact["answer"]) for question in fact["questions"]]
        places = [[name for name in delivered if delivered[name][pair]] for pair in wanted]
        assert sorted(places) == [["docx"], ["jsonl"], ["xlsx"]], fact["entity"]
        form_one += places[0] == ["docx"]
    assert 0.8 < form_one / len(index) < 0.98  # mostly, not always, form 1 in the .docx


def test_docx_has_the_delimiters_of_real_files(paragraphs):
    found = Counter(
        match.group() for text in paragraphs if (match := re.search(r"[：:？? ]->", text))
    )
    assert set(found) == {"：->", ":->", "？->", "?->", " ->"}
    assert min(found.values()) >= 20
    # A split on the commonest delimiter alone would lose most rows.
    assert max(found.values()) < 0.5 * len(paragraphs)


def test_bad_rows_are_where_the_list_says(index, paragraphs, sheet, lines):
    with (FOLDER / "bad_rows.tsv").open(encoding="utf-8", newline="") as file:
        bad = list(csv.DictReader(file, delimiter="\t"))
    rows = {"questions.docx": paragraphs, "questions.xlsx": sheet, "questions.jsonl": lines}
    asked = {plain(question) for fact in index for question in fact["questions"]}
    seen = Counter()
    for row in bad:
        here = rows[row["file"]][int(row["locator"].split()[-1]) - 1]
        seen[row["reason"]] += 1
        match row["reason"], row["file"]:
            case "no delimiter", "questions.docx":
                assert "->" not in here
            case "advert", _:
                assert "公众号" in here
            case "empty question", "questions.docx":
                assert re.fullmatch(r"：->.+", here)
            case "empty answer", "questions.docx":
                assert re.fullmatch(r".+：->", here)
            case "empty question", "questions.xlsx":
                assert here[1] is None and here[2]
            case "empty answer", "questions.xlsx":
                assert here[1] and here[2] is None
            case "answer too long", "questions.xlsx":
                assert len(here[2]) > 2000
            case "duplicate", "questions.xlsx":
                same = [row for row in sheet[1:] if row[1] and plain(row[1]) == plain(here[1])]
                assert len(same) == 2 and len({row[1] for row in same}) == 2
                assert len({row[2] for row in same}) == 1
            case "duplicate", name:
                assert rows[name].count(here) == 2
            case "conflicting answers", _:
                assert "人体最大的器官是什么" in here and "人体最大的器官是什么" not in asked
            case "broken JSON", _:
                with pytest.raises(ValueError):
                    json.loads(here)
            case "missing field", _:
                assert "answer" not in json.loads(here)
            case other:
                pytest.fail(f"unknown kind of bad row: {other}")
    assert seen["conflicting answers"] == 2
    assert 10 <= len(bad) <= 20
    # Everything that is not listed is one of the 3 x facts questions.
    total = len(paragraphs) + len(sheet) - 1 + len(lines)
    assert total - len(bad) == 3 * len(index)


def test_files_stay_small():
    for path in FOLDER.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert path.stat().st_size < 2**20, path.name
