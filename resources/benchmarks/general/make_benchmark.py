"""Write the embedded benchmark of general knowledge, in the layout of C-Eval.

    python make_benchmark.py            write dev/ and val/ into this folder
    python make_benchmark.py --check    fail when the committed files are out of date

`subjects.toml` says which tables of the embedded corpus are asked, and how. Standard library only.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import sys
import tomllib
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "corpora"))
from generated import read_table

HERE = Path(__file__).resolve().parent
TABLES = HERE.parents[1] / "corpora" / "civil_service" / "tables"
LETTERS = "ABCD"
EXAMPLES = 5
COLUMNS = ("id", "question", *LETTERS, "answer")


def questions_of(relation: str, sentence: str) -> list[dict[str, str]]:
    """All questions of a relation, in an order that does not depend on the others.

    A fact whose answer another one shares is not asked: several entities would be right. The wrong
    options are other entities of the relation.
    """
    rows = read_table(TABLES / f"{relation}.tsv", ("entity", "answer"))
    shared = Counter(row["answer"] for row in rows)
    draw = random.Random(relation)
    questions, letters = [], []
    for row in draw.sample(rows, len(rows)):
        if shared[row["answer"]] > 1:
            continue
        others = [other["entity"] for other in rows if other["answer"] != row["answer"]]
        options = draw.sample(others, len(LETTERS) - 1)
        # of four questions in a row, each has another right letter
        letters = letters or draw.sample(LETTERS, len(LETTERS))
        answer = letters.pop()
        options.insert(LETTERS.index(answer), row["entity"])
        question = sentence.format(A=row["answer"])
        questions.append(
            {
                "question": question,
                **dict(zip(LETTERS, options, strict=True)),
                "answer": answer,
                "explanation": question.replace("____", row["entity"]),
            }
        )
    return questions


def table(questions: list[dict[str, str]], columns: tuple[str, ...]) -> bytes:
    """A CSV file of these questions, numbered from 0."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({"id": number, **row} for number, row in enumerate(questions))
    return out.getvalue().encode()


def build() -> dict[str, bytes]:
    """The files of the benchmark by name."""
    files = {}
    for subject, relations in tomllib.loads((HERE / "subjects.toml").read_text("utf-8")).items():
        val, rest = [], []
        for relation, entry in relations.items():
            questions = questions_of(relation, entry["sentence"])
            val += questions[: entry["val"]]
            rest += questions[entry["val"] :]
        dev = random.Random(subject).sample(rest, EXAMPLES)
        files[f"dev/{subject}_dev.csv"] = table(dev, (*COLUMNS, "explanation"))
        files[f"val/{subject}_val.csv"] = table(val, COLUMNS)
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, compare only")
    check = parser.parse_args().check
    for name, data in build().items():
        path = HERE / name
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        elif not path.is_file() or path.read_bytes() != data:
            sys.exit(f"make_benchmark: {name} is out of date. Do: python make_benchmark.py")


if __name__ == "__main__":
    main()
