"""Write the embedded corpus from the fact tables kept beside this script.

    python make_corpus.py            write the corpus files into this folder
    python make_corpus.py --check    fail when the committed files differ from the tables

`tables/RELATION.tsv` holds the facts (entity, answer) and `relations.toml` their wording. Every
fact is asked in three forms, spread over a .docx, an .xlsx and a .jsonl, and stated by every
declarative sentence of its relation in facts.txt. README.md describes each file.
"""

from __future__ import annotations

import io
import random
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import openpyxl
from lxml import etree

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from generated import (
    Row,
    TableError,
    bad_rows_table,
    json_line,
    read_table,
    run,
    scatter,
    text_bytes,
    workbook_bytes,
    zip_bytes,
)

HERE = Path(__file__).resolve().parent
SEED = 20251
# Most facts keep form 1 in the .docx, form 2 in the .xlsx and form 3 in the .jsonl; this share
# of them is dealt out otherwise, so that no file can be recognised by the form of its questions.
ROTATED_SHARE = 0.15
# How the paragraphs of the .docx end the question, as the real civil-service file does it:
# (text between question and answer, share of the paragraphs).
DELIMITERS = (("：->", 0.3), ("？->", 0.4), ("?->", 0.12), (" ->", 0.12), (":->", 0.06))
# Question marks in the .xlsx and the .jsonl.
ENDINGS = (("？", 0.8), ("?", 0.1), ("", 0.1))
SHEET = "题库"
COLUMNS = ("编号", "题目", "答案")
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
CONTENT_TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
RELATIONSHIPS = "http://schemas.openxmlformats.org/package/2006/relationships"
DOCUMENT = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"


@dataclass(frozen=True)
class Relation:
    """One table with its wording; see relations.toml for the meaning of the fields."""

    name: str
    questions: tuple[str, ...]
    sentences: tuple[str, ...]
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Fact:
    """One row of one table, worded."""

    relation: str
    entity: str
    answer: str
    questions: tuple[str, ...]
    sentences: tuple[str, ...]


def read_relations(folder: Path) -> list[Relation]:
    """Every relation of relations.toml with its table, in the order of that file."""
    wording = tomllib.loads((folder / "relations.toml").read_text(encoding="utf-8"))
    tables = {path.stem for path in (folder / "tables").glob("*.tsv")}
    if tables != set(wording):
        odd = ", ".join(sorted(tables ^ set(wording)))
        raise TableError(f"relations.toml and tables/*.tsv do not name the same relations: {odd}")
    return [
        Relation(
            name,
            tuple(entry["questions"]),
            tuple(entry["sentences"]),
            tuple(
                (row["entity"], row["answer"])
                for row in read_table(folder / "tables" / f"{name}.tsv", ("entity", "answer"))
            ),
        )
        for name, entry in wording.items()
    ]


def word_facts(relations: list[Relation]) -> list[Fact]:
    """All facts in table order, each with its questions and its sentences."""

    def fill(template: str, entity: str, answer: str) -> str:
        return template.format(E=entity, A=answer)

    return [
        Fact(
            relation.name,
            entity,
            answer,
            tuple(fill(text, entity, "") for text in relation.questions),
            tuple(fill(text, entity, answer) for text in relation.sentences),
        )
        for relation in relations
        for entity, answer in relation.rows
    ]


def pick(rng: random.Random, weighted: tuple[tuple[str, float], ...]) -> str:
    """One of the texts, drawn with the given weights."""
    return rng.choices([text for text, _ in weighted], [weight for _, weight in weighted])[0]


def deal_questions(facts: list[Fact], rng: random.Random) -> dict[str, list[tuple[str, str]]]:
    """Deal the three questions of each fact to the three files; (question, answer) pairs."""
    names = ["docx", "xlsx", "jsonl"]
    dealt: dict[str, list[tuple[str, str]]] = {name: [] for name in names}
    for fact in facts:
        order = rng.sample(names, 3) if rng.random() < ROTATED_SHARE else names
        for name, question in zip(order, fact.questions, strict=True):
            dealt[name].append((question, fact.answer))
    for name in names:
        rng.shuffle(dealt[name])
    return dealt


def jsonl_line(question: str, answer: str) -> str:
    """One JSON line, with the Chinese text left readable."""
    return json_line({"question": question, "answer": answer})


# The pasted page of the overlong answer: it says nothing that any question asks for.
PASTED_PAGE = "".join(
    f"（{n}）此处误贴了整页排版说明，与题目无关，编辑时请删去。" for n in range(1, 90)
)


def bad_docx_rows(good: list[str]) -> list[Row]:
    """The deliberately bad paragraphs; `good` are the others, of which one is repeated."""
    return [
        Row("更多资料请关注公众号：常识每日一练", "advert", "an advert between the questions"),
        Row(
            "想要全套讲义吗？->请关注公众号常识每日一练领取",
            "advert",
            "an advert that has the delimiter",
        ),
        Row("（本卷第二部分，内部资料，请勿外传）", "no delimiter", "a note, not a question"),
        Row("：->长江", "empty question", "nothing before the delimiter"),
        Row(
            "下列河流中，流域面积最大的是哪一条：->", "empty answer", "nothing after the delimiter"
        ),
        Row(good[100], "duplicate", "the same paragraph twice"),
        Row(
            "人体最大的器官是什么？->皮肤",
            "conflicting answers",
            "the .jsonl answers this question differently",
        ),
    ]


def bad_xlsx_rows(good: list[tuple[str, str]]) -> list[Row]:
    """The deliberately bad rows of the sheet; `good` are the others."""
    question, answer = good[100]
    spaced = question.rstrip("？?") + " ?"
    return [
        Row(("被称为“国宝”的动物中，最有名的是哪一种？", None), "empty answer", "no answer cell"),
        Row((None, "黄河"), "empty question", "no question cell"),
        Row(
            (spaced, answer),
            "duplicate",
            "the same question as another row but for the question mark and a space",
        ),
        Row(
            ("本页的排版有哪些要求？", PASTED_PAGE),
            "answer too long",
            f"a page pasted into the answer cell ({len(PASTED_PAGE):,} characters)",
        ),
    ]


def bad_jsonl_rows(good: list[str]) -> list[Row]:
    """The deliberately bad lines; `good` are the others, of which one is repeated."""
    return [
        Row(
            '{"question": "一年有多少个节气？", "answer": "二十四个"',
            "broken JSON",
            "the closing brace is missing",
        ),
        Row('{"question": "一天有多少个时辰？"}', "missing field", "no answer key"),
        Row(good[100], "duplicate", "the same line twice"),
        Row(
            jsonl_line("人体最大的器官是什么？", "肝脏"),
            "conflicting answers",
            "the .docx answers this question differently",
        ),
    ]


def docx_bytes(paragraphs: list[str], rng: random.Random) -> bytes:
    """A minimal Word document with one paragraph per text.

    Word cuts the text of a paragraph into several runs where somebody edited it, so a third of
    the paragraphs have two runs. The package (ECMA-376 part 2) is stored uncompressed with fixed
    times: the same tables give the same bytes, whatever zlib is installed.
    """
    document = etree.Element(f"{{{WORD}}}document", nsmap={"w": WORD})
    body = etree.SubElement(document, f"{{{WORD}}}body")
    for text in paragraphs:
        paragraph = etree.SubElement(body, f"{{{WORD}}}p")
        cut = rng.randrange(1, len(text)) if rng.random() < 1 / 3 else len(text)
        for part in filter(None, (text[:cut], text[cut:])):
            run = etree.SubElement(paragraph, f"{{{WORD}}}r")
            leaf = etree.SubElement(run, f"{{{WORD}}}t")
            leaf.text = part
            if part != part.strip():
                leaf.set("{http://www.w3.org/XML/1998/namespace}space", "preserve")
    types = etree.Element(f"{{{CONTENT_TYPES}}}Types", nsmap={None: CONTENT_TYPES})
    relations = "application/vnd.openxmlformats-package.relationships+xml"
    main = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    etree.SubElement(types, f"{{{CONTENT_TYPES}}}Default", Extension="rels", ContentType=relations)
    etree.SubElement(
        types, f"{{{CONTENT_TYPES}}}Override", PartName="/word/document.xml", ContentType=main
    )
    links = etree.Element(f"{{{RELATIONSHIPS}}}Relationships", nsmap={None: RELATIONSHIPS})
    etree.SubElement(
        links,
        f"{{{RELATIONSHIPS}}}Relationship",
        Id="rId1",
        Type=DOCUMENT,
        Target="word/document.xml",
    )
    parts = {"[Content_Types].xml": types, "_rels/.rels": links, "word/document.xml": document}
    return zip_bytes(
        {
            name: etree.tostring(tree, xml_declaration=True, encoding="UTF-8", standalone=True)
            for name, tree in parts.items()
        }
    )


def xlsx_bytes(rows: list[tuple[str | None, str | None]]) -> bytes:
    """An Excel workbook with the sheet 题库 and the columns 编号, 题目, 答案."""
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    sheet.title = SHEET
    sheet.append(COLUMNS)
    for number, (question, answer) in enumerate(rows, start=1):
        sheet.append((number, question, answer))
    for column, width in (("A", 8), ("B", 48), ("C", 20)):
        sheet.column_dimensions[column].width = width
    sheet.freeze_panes = "A2"
    return workbook_bytes(workbook)


def facts_index(facts: list[Fact]) -> bytes:
    """JSON lines, one per fact, with the lines of facts.txt that state it (counted from 1)."""
    lines = []
    first = 1
    for fact in facts:
        entry = {
            "relation": fact.relation,
            "entity": fact.entity,
            "answer": fact.answer,
            "questions": fact.questions,
            "first_line": first,
            "lines": len(fact.sentences),
        }
        lines.append(json_line(entry))
        first += len(fact.sentences)
    return text_bytes(lines)


def build(folder: Path = HERE) -> dict[str, bytes]:
    """Content of every generated file by name, from the tables in `folder`."""
    facts = word_facts(read_relations(folder))
    rng = random.Random(SEED)
    dealt = deal_questions(facts, rng)
    paragraphs = [f"{q.rstrip('？')}{pick(rng, DELIMITERS)}{a}" for q, a in dealt["docx"]]
    cells = [(q.rstrip("？") + pick(rng, ENDINGS), a) for q, a in dealt["xlsx"]]
    lines = [jsonl_line(q.rstrip("？") + pick(rng, ENDINGS), a) for q, a in dealt["jsonl"]]

    title = Row("公务员考试常识题库（问答版）", "no delimiter", "the title of the document")
    docx = [title, *scatter([Row(text) for text in paragraphs], bad_docx_rows(paragraphs), rng)]
    xlsx = scatter([Row(pair) for pair in cells], bad_xlsx_rows(cells), rng)
    jsonl = scatter([Row(line) for line in lines], bad_jsonl_rows(lines), rng)
    bad = bad_rows_table(
        {
            "questions.docx": ("paragraph ", 1, docx),
            "questions.xlsx": ("row ", 2, xlsx),  # the headings are row 1
            "questions.jsonl": ("line ", 1, jsonl),
        }
    )
    return {
        "questions.docx": docx_bytes([row.content for row in docx], rng),
        "questions.xlsx": xlsx_bytes([row.content for row in xlsx]),
        "questions.jsonl": text_bytes([row.content for row in jsonl]),
        "facts.txt": text_bytes([text for fact in facts for text in fact.sentences]),
        "facts_index.jsonl": facts_index(facts),
        "bad_rows.tsv": bad,
    }


def sheet_cells(data: bytes) -> list[tuple[object, ...]]:
    """All cells of the sheet 题库: another openpyxl may word the same sheet differently."""
    workbook = openpyxl.load_workbook(io.BytesIO(data), read_only=True)
    return list(workbook[SHEET].iter_rows(values_only=True))


def main(argv: list[str] | None = None) -> int:
    """Write the corpus, or with --check compare it; returns the exit status."""
    views = {"questions.xlsx": sheet_cells}
    return run(build, HERE, __doc__.splitlines()[0], argv, views)


if __name__ == "__main__":
    sys.exit(main())
