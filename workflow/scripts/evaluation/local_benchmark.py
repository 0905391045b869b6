"""Read a benchmark from this machine, and leave out what training has given away.

Its files are those of C-Eval and CMMLU (CSV, a file for each subject), or JSON lines of questions
with or without options. Published benchmarks have a few questions that cannot be asked, such as one
with two equal options: these are left out and counted.

A question that the training text asks or contains is not asked either: its answer would say
nothing. The training text stays as it is, so that no benchmark makes a model be trained again;
corpus.split.decontaminate takes the rows out of training instead.
"""

import argparse
import csv
import io
import json
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from prompts import Question, letters_of
from question_files import (
    BenchmarkError,
    check_options,
    check_question,
    listed,
    read_benchmark,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "corpus"))
from ledger import Asked, read_lines, read_others

# More than this share says that the file is not what it is taken for.
MOST_UNUSABLE = 0.05


def read_questions(path: Path) -> Iterator[tuple[str, Question]]:
    """Place and content of each row of a file: question, answer, the options, id where it has one.

    Raises:
        BenchmarkError: the file is no such table or has a broken line.
    """
    text = _text(path)
    rows = _table(path, text) if path.suffix.lower() == ".csv" else _lines(path, text)
    for place, row in rows:
        named = {_name(key): value for key, value in row.items()}
        letters = letters_of(named)
        if elsewhere := not letters and {"options", "choices"} & named.keys():
            raise BenchmarkError(
                f"{place}: write what is in '{elsewhere.pop()}' as 'A', 'B' and so on, beside the "
                "question"
            )
        kept = [key for key in ("id", "question", "answer", *letters) if key in named]
        question = {key: named[key].strip() if _is_text(named[key]) else named[key] for key in kept}
        if letters and _is_text(question.get("answer")) and len(_name(question["answer"])) == 1:
            question["answer"] = _name(question["answer"])
        yield place, question


def _text(path: Path) -> str:
    # what is neither of the two is hardly ever valid in the second
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return path.read_text(encoding=encoding)
        except UnicodeDecodeError:
            pass
    raise BenchmarkError(f"{path}: is neither UTF-8 nor GB18030. Convert it to UTF-8.")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _name(written: str) -> str:
    """A letter of an option or the name of a column, which CMMLU writes with a capital."""
    name = unicodedata.normalize("NFKC", written).strip()
    return name.upper() if len(name) == 1 else name.lower()


def _table(path: Path, text: str) -> Iterator[tuple[str, dict[str, str]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="", restval="")
    columns = set(map(_name, reader.fieldnames or ()))
    if not {"question", "A", "B"} <= columns:
        raise BenchmarkError(f"{path}: needs the columns question, A, B and so on, and answer")
    if "answer" not in columns:
        raise BenchmarkError(
            f"{path}: has no column answer (C-Eval keeps the answers of its test to itself). Take "
            "split: val"
        )
    for row in reader:
        # spreadsheets write empty rows behind the last one
        if not any(cell.strip() for cell in row.values() if _is_text(cell)):
            continue
        yield f"{path}, line {reader.line_num}", row


def _lines(path: Path, text: str) -> Iterator[tuple[str, dict]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            place = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise BenchmarkError(f"{place}: not JSON ({error})") from None
            if not isinstance(row, dict):
                raise BenchmarkError(f"{place}: not an object with question and answer")
            yield place, row


def read_files(
    paths: dict[str, Path], most_unusable: float
) -> tuple[dict[str, list[Question]], list[str]]:
    """The questions of each subject, all with the same options; and what is wrong with the others.

    Args:
        paths: file by subject.
        most_unusable: share of all questions that may be left out.

    Raises:
        BenchmarkError: there are none, more of them cannot be asked, one has other options than
            the first, or an id twice.
    """
    found: dict[str, list[Question]] = {}
    unusable: list[str] = []
    options = None
    for subject, path in paths.items():
        found[subject] = []
        ids: set[str] = set()
        for number, (place, row) in enumerate(read_questions(path)):
            here = check_options(row, place)
            options = here if options is None else options
            if here != options:
                raise BenchmarkError(
                    f"{place}: has {listed(here)}, but the first question has {listed(options)}"
                )
            if row.get("id") in (None, ""):
                row["id"] = str(number)
            try:
                check_question(row, options, place)
            except BenchmarkError as error:
                unusable.append(str(error))
                continue
            if row["id"] in ids:
                raise BenchmarkError(f"{place}: the id '{row['id']}' occurs twice in {subject}")
            ids.add(row["id"])
            found[subject].append(row)
    number_of = len(unusable) + sum(map(len, found.values()))
    if len(unusable) > most_unusable * number_of:
        raise BenchmarkError(
            f"{unusable[0]}. {len(unusable)} of {number_of} questions cannot be asked; correct or "
            "remove them"
        )
    if paths and not number_of:
        raise BenchmarkError(f"{', '.join(map(str, paths.values()))}: no questions")
    return found, unusable


def rows_of(
    questions: dict[str, list[Question]], examples: dict[str, list[Question]], shots: int
) -> list[dict]:
    """The rows of the question file: {"id", "subject", "question", ..., "examples"?} each.

    Raises:
        BenchmarkError: a subject has fewer examples than are to be shown.
    """
    rows = []
    for subject, asked in questions.items():
        shown = examples.get(subject, [])[:shots]
        if len(shown) < shots:
            raise BenchmarkError(
                f"{subject} has {len(shown)} examples (dev), and shots: {shots} are to be shown"
            )
        shown = [{key: text for key, text in row.items() if key != "id"} for row in shown]
        more = {"examples": shown} if shown else {}
        rows += [
            {**row, "id": f"{subject}/{row['id']}", "subject": subject, **more} for row in asked
        ]
    return rows


def given_away(questions: Iterable[str], train: Path, records: Path) -> set[str]:
    """Those of the questions that the training text asks or contains, as the ledger decides it."""
    asked = Asked(questions)
    found = set()
    for said in chain(read_lines(train, sys.maxsize), read_others(records)):
        found |= {asked.texts[number] for number in asked.given_away(said).tolist()}
    return found


def _paths(text: str) -> dict[str, Path]:
    return {subject: Path(path) for subject, path in json.loads(text).items()}


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", required=True, help="of the benchmark")
    parser.add_argument("--questions", type=_paths, required=True, help="JSON: file by subject")
    parser.add_argument("--examples", type=_paths, required=True, help="JSON: file by subject")
    parser.add_argument("--shots", type=int, required=True, help="examples before each question")
    parser.add_argument("--mode", required=True, help="how it will be asked")
    parser.add_argument("--train", type=Path, required=True, help="train.jsonl of the corpus")
    parser.add_argument("--records", type=Path, required=True, help="records.parquet of the corpus")
    parser.add_argument("--out", type=Path, required=True, help="question file to write")
    parser.add_argument("--summary", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args(argv)
    try:
        questions, unusable = read_files(args.questions, MOST_UNUSABLE)
        rows = rows_of(questions, read_files(args.examples, 0)[0], args.shots)
        known = given_away((row["question"] for row in rows), args.train, args.records)
        kept = [row for row in rows if row["question"] not in known]
        if rows and not kept:
            raise BenchmarkError(f"training gives away all {len(rows)} questions")
        with args.out.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
        read_benchmark(args.name, args.out, args.mode)
    except BenchmarkError as error:
        sys.exit(f"benchmark {args.name}: {error}")
    summary = {
        "questions": len(kept),
        "subjects": Counter(row["subject"] for row in kept),
        "options": len(letters_of(kept[0])),
        "shots": args.shots,
        "unusable": unusable,
        "given_away": [row["id"] for row in rows if row["question"] in known],
    }
    args.summary.write_text(json.dumps(summary, ensure_ascii=False, indent=1) + "\n", "utf-8")
    print(
        f"{args.name}: {len(kept):,} questions of {len(summary['subjects'])} subjects; "
        f"{len(summary['given_away']):,} others are left out, because training gives them away, "
        f"and {len(unusable):,}, because they cannot be asked",
        *unusable,
        sep="\n",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
