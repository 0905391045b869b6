"""Reading the question files of a benchmark, and checking them before anything is started."""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

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
        kind: "qa" (free answer, generated) or "mcq" (options A, B and so on, by likelihood).
        questions: one dict each with id, question and answer, the options for mcq, and system where
            a question has a system prompt of its own.
    """

    name: str
    kind: str
    questions: list[dict[str, str]]

    @property
    def options(self) -> tuple[str, ...]:
        """Letters of the options, the same for all questions; none of free answers."""
        return _options(self.questions[0])

    @property
    def own_systems(self) -> bool:
        """Whether any question has a system prompt of its own."""
        return any("system" in question for question in self.questions)

    @property
    def long_answers(self) -> bool:
        """Whether the references are long enough for ROUGE-L to mean something."""
        lengths = [len(question["answer"]) for question in self.questions]
        return self.kind == "qa" and statistics.median(lengths) > LONG_ANSWER


def _options(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(letter for letter in ascii_uppercase if letter in row)


def read_benchmark(name: str, path: Path) -> Benchmark:
    """Read a JSON-lines file of questions; rows with a key "A" make it a multiple-choice one.

    Raises:
        BenchmarkError: no question, broken JSON, a missing or empty field, a repeated id, other
            options than A, B and so on or than the first question has, equal options, or an answer
            that is none of them.
    """
    questions: list[dict[str, str]] = []
    ids: set[str] = set()
    columns: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
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
            options = _options(row)
            if len(options) == 1 or not ascii_uppercase.startswith("".join(options)):
                raise BenchmarkError(
                    f"{place}: has {_listed(options)}; it needs two or more, from A on without gaps"
                )
            # the question comes last: OpenCompass fills in {column} in this order, so that braces
            # in a question's own text are not taken for one of our columns
            columns = ("id", "answer", *options, "question")
        if (here := _options(row)) != options:
            raise BenchmarkError(
                f"{place}: has {_listed(here)}, but the first question has {_listed(options)}"
            )
        own = ("system",) if "system" in row else ()
        for column in (*columns, *own):
            if not isinstance(row.get(column), str) or not row[column].strip():
                raise BenchmarkError(f"{place}: '{column}' is missing, empty or not a text")
        if row["id"] in ids:
            raise BenchmarkError(f"{place}: the id '{row['id']}' occurs twice")
        ids.add(row["id"])
        if options:
            if row["answer"] not in options:
                raise BenchmarkError(
                    f"{place}: the answer '{row['answer']}' is none of {', '.join(options)}"
                )
            if len({row[option] for option in options}) < len(options):
                raise BenchmarkError(f"{place}: two options are the same")
        questions.append({column: row[column] for column in (*columns, *own)})
    if not questions:
        raise BenchmarkError(f"{path}: no questions")
    return Benchmark(name, "mcq" if options else "qa", questions)


def _listed(options: tuple[str, ...]) -> str:
    return f"the options {', '.join(options)}" if options else "no options"
