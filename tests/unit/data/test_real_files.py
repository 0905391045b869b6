"""Public files as they are found, counted a second time here without the project's readers."""

import csv
import html
import io
import json
import re
import unicodedata
import zipfile
from collections import Counter
from pathlib import Path

import corpus_writers as make
import openpyxl
import pytest
from normalise import MEANINGFUL, key_form, normalise

DATA = make.ROOT.parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.exists(), reason="the real files are not here")
CIVIL = DATA / "civil_service" / "src.docx"
# What is asked here is which rows are the same, not which are too long.
RULES = make.RULES | {
    "max_question_chars": 10**6,
    "max_answer_chars": 10**6,
    "near_duplicates": None,
}


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """Function that reads a source once: its rows, and what was counted."""
    known = {}

    def read_once(path: Path, **options):
        if path not in known:
            folder = tmp_path_factory.mktemp("rows")
            rows = make.read_source(folder, {"path": str(path), **options})
            counts = json.loads((folder / "ingest.json").read_text(encoding="utf-8"))
            known[path] = rows, counts["sources"][0]
        return known[path]

    return read_once


def pair_of(row: dict) -> tuple[str, str]:
    question, answer = row["messages"]
    assert (question["role"], answer["role"]) == ("user", "assistant")
    return question["content"], answer["content"]


# -------------------------------------------------------------------------- civil_service/src.docx


@pytest.fixture(scope="module")
def paragraphs() -> list[str]:
    """Texts of the paragraphs by regular expressions over the XML, blank ones included."""
    with zipfile.ZipFile(CIVIL) as archive:
        xml = archive.read("word/document.xml").decode()
    assert not re.search(r"<w:(tbl|tab|br|sym|noBreakHyphen|txbxContent)[ />]", xml)
    found = re.findall(r"<w:p[ >].*?</w:p>|<w:p/>", xml, re.DOTALL)
    texts = (re.findall(r"<w:t(?: [^>]*)?>([^<]*)</w:t>", each) for each in found)
    return [html.unescape("".join(parts)) for parts in texts]


@pytest.fixture(scope="module")
def pairs(paragraphs) -> list[tuple[str, str]]:
    """Question, with its marks, and answer of each paragraph with an arrow."""
    return [tuple(text.split("->", 1)) for text in paragraphs if "->" in text]


def test_every_paragraph_is_accounted_for(read, paragraphs):
    rows, counts = read(CIVIL)
    filled = {number: text for number, text in enumerate(paragraphs, 1) if text.strip()}
    assert (len(paragraphs), len(filled)) == (41_702, 41_696)
    assert counts["rows"] == len(rows) == len(filled)
    assert counts["blank"] == len(paragraphs) - len(filled) == 6
    assert [row["locator"] for row in rows] == [f"paragraph {number}" for number in filled]
    assert [row["original"] for row in rows] == [text.strip() for text in filled.values()]
    reasons = Counter(row["reason"] for row in rows)
    assert reasons == {None: 41_689, "no_delimiter": 7}
    no_pairs = {row["locator"]: row["original"] for row in rows if row["reason"]}
    assert no_pairs == {
        f"paragraph {number}": text for number, text in filled.items() if "->" not in text
    }


def test_questions_and_answers_are_what_stands_before_and_behind_the_arrow(read, pairs):
    rows, _ = read(CIVIL)
    found = [pair_of(row) for row in rows if row["reason"] is None]
    assert len(found) == len(pairs) == 41_689
    dashes = Counter()
    for (question, answer), (before, behind) in zip(found, pairs, strict=True):
        assert answer == behind.strip()
        # the colon and dashes belong to the arrow, the question mark to the question
        stem = before.rstrip("-—")
        dashes[before[len(stem) :]] += 1
        assert question == re.sub(r"\s*[：:]?\s*$", "", stem).strip()
    assert dashes == {"": 41_674, "——": 9, "—": 1, "-": 3, "--": 2}
    assert sum(not answer for _, answer in found) == 9
    assert sum(not question for question, _ in found) == 0


def sizes(pairs) -> tuple[int, int, int]:
    """Different questions, different pairs, questions with several answers."""
    answers: dict[str, set[str]] = {}
    for question, answer in pairs:
        answers.setdefault(question, set()).add(answer)
    several = sum(len(each) > 1 for each in answers.values())
    return len(answers), sum(map(len, answers.values())), several


def bare(text: str) -> str:
    """Letters and digits of a text alone."""
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", text).casefold())


def test_what_counts_as_the_same_question(read, pairs):
    rows, _ = read(CIVIL)
    found = [pair_of(row) for row in rows if row["reason"] is None]
    # as written, but for white space at the ends
    assert sizes((q.strip(), a.strip()) for q, a in pairs) == (40_978, 41_051, 73)
    # the first count of this file: marks at the end of a question do not count
    first = [(question.rstrip("：:?？ "), answer.strip()) for question, answer in pairs]
    assert sizes(first) == (39_652, 39_906, 247)
    # a single one of these questions is there with another white space behind its mark, too
    trimmed = [(q.strip().rstrip("：:?？ ").strip(), a.strip()) for q, a in pairs]
    assert sizes(trimmed) == (39_651, 39_905, 247)
    assert sizes((question.rstrip("：:?？ "), answer) for question, answer in found) == sizes(
        trimmed
    )
    # no punctuation and no difference of width or case counts, but in and at numbers
    ours = [(normalise(question), normalise(answer)) for question, answer in found]
    assert sizes(ours) == (38_763, 39_042, 272)
    # what is united further, differs in nothing but punctuation, width and case
    united: dict[str, set[str]] = {}
    for (question, _), (form, _) in zip(trimmed, ours, strict=True):
        united.setdefault(form, set()).add(question)
    assert sum(len(each) - 1 for each in united.values()) == 39_651 - 38_763
    assert all(len({bare(question) for question in each}) == 1 for each in united.values())
    # and what is kept apart although its letters are the same, differs in a sign, or in a mark
    # that has a meaning
    apart: dict[str, set[str]] = {}
    for question, _ in ours:
        apart.setdefault(bare(question), set()).add(question)
    apart = {letters: forms for letters, forms in apart.items() if len(forms) > 1}
    assert sum(len(forms) - 1 for forms in apart.values()) == 6
    for forms in apart.values():
        marks = {re.sub(r"\w", "", form) for form in forms}
        signs = {mark for mark in "".join(marks) if unicodedata.category(mark)[0] != "S"}
        assert len(marks) > 1 and signs <= MEANINGFUL


def test_what_becomes_of_the_questions(read, tmp_path):
    rows, _ = read(CIVIL)
    found = [pair_of(row) for row in rows if row["reason"] is None]
    answers: dict[str, list[str]] = {}
    for question, answer in found:
        if answer:
            answers.setdefault(key_form(question), []).append(key_form(answer))
    conflicts = sum(len(set(each)) > 1 for each in answers.values())
    assert (len(answers), conflicts) == (38_754, 272)
    ledger = make.run_stage(tmp_path, {"path": str(CIVIL)}, rules=RULES)
    rejected = Counter(ledger["total"]["rejected"])
    assert rejected["empty_answer"] == 9 and rejected["no_delimiter"] == 7
    # each question once, the ones with several answers left out
    alike = rejected.pop("contaminated")
    assert ledger["total"]["kept"] + alike == len(answers) - conflicts == 38_482
    assert rejected["conflicting_answers"] + rejected["duplicate"] == 41_680 - 38_482
    assert 2 * conflicts <= rejected["conflicting_answers"]
    assert set(rejected) == {"empty_answer", "no_delimiter", "conflicting_answers", "duplicate"}
    assert ledger["split"]["leaked"] == 0


# ----------------------------------------------------------------------------- tables


def test_medication_questions(read):
    path = DATA / "medqa" / "MedInfo2019-QA-Medications.xlsx"
    rows, counts = read(path, sheet="DrugQA")
    sheet = openpyxl.load_workbook(path)["DrugQA"]
    headings, *cells = [[cell.value for cell in row] for row in sheet.iter_rows()]
    question, answer = headings.index("Question"), headings.index("Answer")
    filled = [row for row in cells if any(cell is not None for cell in row)]
    assert len(filled) == len(rows) == counts["rows"] == 690 and counts["blank"] == 0
    assert all(row["reason"] is None and row["kind"] == "chat" for row in rows)
    assert [pair_of(row) for row in rows] == [(row[question], row[answer]) for row in filled]
    assert [row["locator"] for row in rows] == [f"DrugQA!A{n}" for n in range(2, 692)]
    for row, line in zip(rows, filled, strict=True):
        about = {h: v for h, v in zip(headings, line, strict=True) if v is not None}
        meta = json.loads(row["meta"] or "{}")
        assert meta == {
            name: str(v) for name, v in about.items() if name not in ("Question", "Answer")
        }


def test_medical_dialogues(read, tmp_path):
    (path,) = (DATA / "medical_dialogue").glob("*.csv")
    rows, counts = read(path)
    text = path.read_bytes().decode("gb18030")
    headings, *table = csv.reader(io.StringIO(text, newline=""))
    assert headings == ["department", "title", "ask", "answer"]
    assert len(table) == len(rows) == counts["rows"] == 7_644 and counts["blank"] == 0
    assert counts["facts"] == {"encoding": "gb18030", "delimiter": "comma"}
    assert all(row["reason"] is None and row["repaired"] is None for row in rows)
    assert [pair_of(row) for row in rows] == [(ask, answer) for _, _, ask, answer in table]
    # the same row twice, the same dialogue twice, and the same question twice
    assert len(set(map(tuple, table))) == 7_266
    assert sizes((ask, answer) for _, _, ask, answer in table) == (7_237, 7_248, 7)
    answers: dict[str, set[str]] = {}
    for _, _, ask, answer in table:
        answers.setdefault(key_form(ask), set()).add(key_form(answer))
    single = sum(len(each) == 1 for each in answers.values())
    ledger = make.run_stage(tmp_path, {"path": str(path)}, rules=RULES)
    rejected = ledger["total"]["rejected"]
    assert ledger["total"]["kept"] + rejected.get("contaminated", 0) == single
    assert set(rejected) <= {"duplicate", "conflicting_answers", "contaminated"}


# ----------------------------------------------------------------------------------- JSON lines


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def turns_of(row: dict) -> list[tuple[str, str]]:
    names = {"human": "user", "gpt": "assistant", "system": "system"}
    return [(names[turn["from"]], turn["value"]) for turn in row["conversations"]]


@pytest.mark.parametrize("name", ["medical_sft_1K_format", "sharegpt_zh_1K_format"])
def test_conversations(read, name):
    path = DATA / "medicalgpt" / "sft" / f"{name}.jsonl"
    rows, counts = read(path)
    lines = lines_of(path)
    assert len(lines) == len(rows) == counts["rows"] == 1_000 and counts["blank"] == 0
    for row, line in zip(rows, lines, strict=True):
        turns = turns_of(line)
        said = [turn for turn in turns if turn[0] != "system"]
        whole = [role for role, _ in said] == ["user", "assistant"] * (len(said) // 2)
        if not whole:
            assert row["reason"] == "malformed_row" and row["kind"] is None
        elif "\ufffd" in json.dumps(turns, ensure_ascii=False):
            assert row["reason"] == "undecodable"
        else:
            assert row["kind"] == "chat" and row["reason"] is None
            assert [(m["role"], m["content"]) for m in row["messages"]] == turns
        assert json.loads(row["original"]) == line
    reasons = Counter(row["reason"] for row in rows)
    expected = {None: 993, "malformed_row": 7} if name.startswith("sharegpt") else {None: 1_000}
    assert reasons == expected


def test_preferences(read):
    path = DATA / "medicalgpt" / "reward" / "dpo_zh_500.jsonl"
    rows, counts = read(path)
    lines = lines_of(path)
    assert len(lines) == len(rows) == counts["rows"] == 500 and counts["blank"] == 0
    for row, line in zip(rows, lines, strict=True):
        if "\ufffd" in json.dumps(line, ensure_ascii=False):
            assert row["reason"] == "undecodable"
            continue
        assert row["kind"] == "preference" and row["reason"] is None
        assert [(m["role"], m["content"]) for m in row["messages"]] == turns_of(line)
        for side in ("chosen", "rejected"):
            assert row[side] == [{"role": "assistant", "content": line[side]}]
    assert Counter(row["reason"] for row in rows) == {None: 487, "undecodable": 13}


# ----------------------------------------------------------------------------------- text


def test_lines_that_are_paragraphs(read):
    path = DATA / "medicalgpt" / "pretrain" / "fever.txt"
    rows, counts = read(path)
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    assert [row["text"] for row in rows] == [line.strip() for line in lines if line.strip()]
    assert (len(rows), counts["blank"]) == (985, 11) and len(lines) == 996
    assert all(row["kind"] == "text" and row["reason"] is None for row in rows)


def test_paragraphs_between_blank_lines(read):
    path = DATA / "medicalgpt" / "pretrain" / "en_article_tail500.txt"
    rows, _ = read(path)
    parts = re.split(r"\n(?:[ \t]*\n)+", path.read_text(encoding="utf-8").strip())
    assert [row["text"] for row in rows] == [part.strip() for part in parts]
    assert len(rows) == 66
