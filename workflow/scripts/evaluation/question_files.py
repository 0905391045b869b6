"""Reading the question files of a benchmark, and checking them before anything is started."""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path

OPTIONS = ("A", "B", "C", "D")

# References longer than this (median, characters) are whole sentences: exact match says little
# there, and ROUGE-L is reported too.
LONG_ANSWER = 20


class BenchmarkError(ValueError):
    """A question file that cannot be used; the message names file and line."""


@dataclass(frozen=True)
class Benchmark:
    """Questions that are asked in one way.

    Attributes:
        name: its name in the scores.
        kind: "qa" (free answer, generated) or "mcq" (options A to D, by likelihood).
        questions: one dict each with id, question and answer, and the options A to D for mcq.
    """

    name: str
    kind: str
    questions: list[dict[str, str]]

    @property
    def long_answers(self) -> bool:
        """Whether the references are long enough for ROUGE-L to mean something."""
        lengths = [len(question["answer"]) for question in self.questions]
        return self.kind == "qa" and statistics.median(lengths) > LONG_ANSWER


def read_benchmark(name: str, path: Path) -> Benchmark:
    """Read a JSON-lines file of questions; rows with a key "A" make it a multiple-choice one.

    Raises:
        BenchmarkError: no question, broken JSON, a missing or empty field, a repeated id, equal
            options, or an answer that is none of them.
    """
    questions: list[dict[str, str]] = []
    ids: set[str] = set()
    columns: tuple[str, ...] = ()
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise BenchmarkError(f"{place}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise BenchmarkError(f"{place}: not an object with id, question and answer")
        if not columns:
            # the question comes last: OpenCompass fills in {column} in this order, so that braces
            # in a question's own text are not taken for one of our columns
            columns = ("id", "answer", *(OPTIONS if "A" in row else ()), "question")
        for column in columns:
            if not isinstance(row.get(column), str) or not row[column].strip():
                raise BenchmarkError(f"{place}: '{column}' is missing, empty or not a text")
        if row["id"] in ids:
            raise BenchmarkError(f"{place}: the id '{row['id']}' occurs twice")
        ids.add(row["id"])
        if "A" in columns:
            if row["answer"] not in OPTIONS:
                raise BenchmarkError(f"{place}: the answer '{row['answer']}' is not A, B, C or D")
            if len({row[option] for option in OPTIONS}) < len(OPTIONS):
                raise BenchmarkError(f"{place}: two options are the same")
        questions.append({column: row[column] for column in columns})
    if not questions:
        raise BenchmarkError(f"{path}: no questions")
    return Benchmark(name, "mcq" if "A" in columns else "qa", questions)
