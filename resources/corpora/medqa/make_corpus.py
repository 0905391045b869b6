"""Write the embedded corpus about medicines from the tables kept beside this script.

    python make_corpus.py            write the corpus files into this folder
    python make_corpus.py --check    fail when the committed files differ from the tables

`tables/RELATION.tsv` holds the facts (entity, answer) and `relations.toml` their wording. Every
fact is asked in three forms, all in one workbook, and stated by every declarative sentence of its
relation in facts.txt. README.md describes each file.
"""

from __future__ import annotations

import io
import random
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import openpyxl

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from generated import Row, bad_rows_table, read_table, run, scatter, text_bytes, workbook_bytes

HERE = Path(__file__).resolve().parent
SEED = 20252
SHEET, ABOUT = "Medications", "About"
COLUMNS = ("No.", "Topic", "Question", "Answer", "Look it up in")
FIRST_ROW = 2  # below the headings


@dataclass(frozen=True)
class Fact:
    """One row of one table, worded."""

    relation: str
    topic: str
    entity: str
    answer: str
    questions: tuple[str, ...]
    sentences: tuple[str, ...]
    source: str


def read_facts(folder: Path) -> list[Fact]:
    """All facts in the order of relations.toml and its tables."""
    wording = tomllib.loads((folder / "relations.toml").read_text(encoding="utf-8"))
    return [
        Fact(
            name,
            entry["topic"],
            row["entity"],
            row["answer"],
            tuple(text.format(E=row["entity"]) for text in entry["questions"]),
            tuple(text.format(E=row["entity"], A=row["answer"]) for text in entry["sentences"]),
            entry["sources"][0],
        )
        for name, entry in wording.items()
        for row in read_table(folder / "tables" / f"{name}.tsv", ("entity", "answer"))
    ]


# The pasted page of the overlong answer: it says nothing that any question asks for.
PASTED_PAGE = " ".join(
    f"Note {n}: this page of a layout guide was pasted here by mistake." for n in range(1, 41)
)


def bad_rows(good: list[tuple]) -> list[Row]:
    """The deliberately bad rows (topic, question, answer, source); `good` are the others."""
    topic, question, answer, source = good[100]
    pack = ("Pack", "How many tablets are in the sample pack?")
    return [
        Row(("Use", None, "high blood pressure", None), "empty_question", "no question cell"),
        Row(("Class", "What kind of drug is a placebo?", None, None), "empty_answer", "no answer"),
        Row(
            (topic, question.replace("?", " ?").upper(), answer, source),
            "duplicate",
            "another row in capital letters",
        ),
        Row((*pack, "10", None), "conflicting_answers", "another row says 12"),
        Row((*pack, "12", None), "conflicting_answers", "another row says 10"),
        Row(
            ("Offer", "Where can I save money?", "Use the discount code HEALTH at our shop", None),
            "advert",
            "an advert with a question of its own",
        ),
        Row(
            ("Layout", "How is this page laid out?", PASTED_PAGE, None),
            "too_long_answer",
            f"a page pasted into the answer cell ({len(PASTED_PAGE):,} characters)",
        ),
    ]


def xlsx_bytes(rows: list[tuple]) -> bytes:
    """The workbook: a sheet of questions, and one that says what it is."""
    workbook = openpyxl.Workbook()
    about = workbook.active
    about.title = ABOUT
    about.append(("Written for domain-finetuning, CC0 1.0. For tests only: not medical advice.",))
    sheet = workbook.create_sheet(SHEET)
    sheet.append(COLUMNS)
    for number, row in enumerate(rows, start=1):
        sheet.append((number, *row))
    for column, width in zip("ABCDE", (6, 14, 52, 34, 48), strict=True):
        sheet.column_dimensions[column].width = width
    sheet.freeze_panes = "A2"
    return workbook_bytes(workbook)


def build(folder: Path = HERE) -> dict[str, bytes]:
    """Content of every generated file by name, from the tables in `folder`."""
    facts = read_facts(folder)
    rng = random.Random(SEED)
    good = [
        (fact.topic, question, fact.answer, fact.source)
        for fact in facts
        for question in fact.questions
    ]
    rng.shuffle(good)
    rows = scatter([Row(row) for row in good], bad_rows(good), rng)
    return {
        "medications.xlsx": xlsx_bytes([row.content for row in rows]),
        "facts.txt": text_bytes([text for fact in facts for text in fact.sentences]),
        "bad_rows.tsv": bad_rows_table({"medications.xlsx": (f"{SHEET}!C", FIRST_ROW, rows)}),
    }


def cells(data: bytes) -> list[list[tuple[object, ...]]]:
    """All cells of a workbook: another openpyxl may word the same sheets differently."""
    workbook = openpyxl.load_workbook(io.BytesIO(data), read_only=True)
    return [list(sheet.iter_rows(values_only=True)) for sheet in workbook]


def main(argv: list[str] | None = None) -> int:
    """Write the corpus, or with --check compare it; returns the exit status."""
    return run(build, HERE, __doc__.splitlines()[0], argv, {"medications.xlsx": cells})


if __name__ == "__main__":
    sys.exit(main())
