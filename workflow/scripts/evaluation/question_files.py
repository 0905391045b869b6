"""Reading the question files of a benchmark, and checking them before anything is started."""

import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_uppercase

from prompts import PLAIN, Question, Turns, letters_of, plain_text, turns

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
        kind: "qa" (free answer) or "mcq" (options A, B and so on).
        questions: one dict each with id, question and answer, the options for mcq, and system where
            a question has a system prompt of its own.
        mode: one of prompts.MODES; a free answer is always generated.
        instruction: text in front of each question; empty: none.
        examples: by id, the questions that are answered before this one; none without.
    """

    name: str
    kind: str
    questions: list[Question]
    mode: str
    instruction: str = ""
    examples: dict[str, list[Question]] = field(default_factory=dict)

    @property
    def options(self) -> tuple[str, ...]:
        """Letters of the options, the same for all questions; none of free answers."""
        return letters_of(self.questions[0])

    @property
    def own_systems(self) -> bool:
        """Whether any question has a system prompt of its own."""
        return any("system" in question for question in self.questions)

    @property
    def long_answers(self) -> bool:
        """Whether the references are long enough for ROUGE-L to mean something."""
        lengths = [len(question["answer"]) for question in self.questions]
        return self.kind == "qa" and statistics.median(lengths) > LONG_ANSWER

    @property
    def plain(self) -> bool:
        """Whether the model reads plain text and no chat."""
        return self.mode in PLAIN

    def turns(self, question: Question) -> Turns:
        """The turns of a chat up to the answer that is asked for."""
        return turns(self.mode, self.instruction, self.examples.get(question["id"], []), question)

    def plain_text(self, question: Question) -> tuple[str, dict[str, str]]:
        """The text before the options part, and by letter how it goes on."""
        examples = self.examples.get(question["id"], [])
        return plain_text(self.mode, self.instruction, examples, question)


def check_question(row: Question, options: tuple[str, ...], place: str) -> None:
    """Raise BenchmarkError where a question has an empty text, no answer, or equal options."""
    for column in ("question", "answer", *options):
        if not isinstance(row.get(column), str) or not row[column].strip():
            raise BenchmarkError(f"{place}: '{column}' is missing, empty or not a text")
    if options:
        if row["answer"] not in options:
            raise BenchmarkError(
                f"{place}: the answer '{row['answer']}' is none of {', '.join(options)}"
            )
        if len({row[option] for option in options}) < len(options):
            raise BenchmarkError(f"{place}: two options are the same")


def check_options(row: Question, place: str) -> tuple[str, ...]:
    """The letters of a question's options, from A on without gaps; none of a free answer.

    Raises:
        BenchmarkError: there is one option only, or a letter is missing.
    """
    options = letters_of(row)
    if len(options) == 1 or not ascii_uppercase.startswith("".join(options)):
        raise BenchmarkError(
            f"{place}: has {listed(options)}; it needs two or more, from A on without gaps"
        )
    return options


def read_benchmark(name: str, path: Path, mode: str = "", instruction: str = "") -> Benchmark:
    """Read a JSON-lines file of questions; rows with a key "A" make it a multiple-choice one.

    Args:
        name: of the benchmark.
        path: the file.
        mode: one of prompts.MODES; empty: the one of the workflow's own benchmarks.
        instruction: text in front of each question; empty: none.

    Raises:
        BenchmarkError: no question, broken JSON, a missing or empty field, a repeated id, other
            options than A, B and so on or than the first question has, equal options, an answer
            that is none of them, or free answers in a mode that has none.
    """
    questions: list[Question] = []
    examples: dict[str, list[Question]] = {}
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
            options = check_options(row, place)
            # the question comes last: OpenCompass fills in {column} in this order, so that braces
            # in a question's own text are not taken for one of our columns
            columns = ("id", "answer", *options, "question")
        if (here := letters_of(row)) != options:
            raise BenchmarkError(
                f"{place}: has {listed(here)}, but the first question has {listed(options)}"
            )
        own = tuple(column for column in ("system", "subject") if column in row)
        for column in ("id", *own):
            if not isinstance(row.get(column), str) or not row[column].strip():
                raise BenchmarkError(f"{place}: '{column}' is missing, empty or not a text")
        check_question(row, options, place)
        if row["id"] in ids:
            raise BenchmarkError(f"{place}: the id '{row['id']}' occurs twice")
        ids.add(row["id"])
        if shown := row.get("examples"):
            examples[row["id"]] = shown
        questions.append({column: row[column] for column in (*columns, *own)})
    if not questions:
        raise BenchmarkError(f"{path}: no questions")
    if not options and mode in PLAIN:
        raise BenchmarkError(
            f"{name}: its answers are free texts, and the mode {mode} is for options; take "
            "mode: generation"
        )
    mode = mode or ("options" if options else "generation")
    return Benchmark(name, "mcq" if options else "qa", questions, mode, instruction, examples)


def listed(options: tuple[str, ...]) -> str:
    """Letters in words."""
    return f"the options {', '.join(options)}" if options else "no options"
