"""Put the scores of all variants of a run into one table, and its reward model's beside them.

A second table has a row for every question, with the answers of all variants.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import combinations, zip_longest
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "corpus"))
from cleaning.rejected import cell
from independence import group_of, independent

NOT_ASKED = "not_asked"
COLUMNS = ("domain", "run", "variant", "benchmark", "metric", "score", "n", "independent")


class ScoreError(ValueError):
    """The variants cannot be compared; the message says why."""


def check_comparable(variants: Sequence[dict[str, Any]]) -> None:
    """Raise ScoreError unless all variants answered equally many questions under one setting.

    One that answers over HTTP is reached by another class, and not asked everything: what it was
    not asked must not differ between the others. One that computes in 4 bits says so by `weights`.
    """
    for first, other in combinations(variants, 2):
        pair = f"'{first['variant']}' and '{other['variant']}'"
        left_out = first.get(NOT_ASKED, {}) | other.get(NOT_ASKED, {})
        may_differ = {"model_class", *left_out.values()}
        if "weights" in first["backend"] | other["backend"]:
            may_differ |= {"weights", "dtype"}
        for key in sorted((first["backend"].keys() | other["backend"].keys()) - may_differ):
            ours, theirs = first["backend"].get(key), other["backend"].get(key)
            if ours != theirs:
                raise ScoreError(f"{pair} were evaluated differently: {key} is {ours} and {theirs}")
        ours, theirs = (
            {name: n["n"] for name, n in one["benchmarks"].items() if name not in left_out}
            for one in (first, other)
        )
        if ours != theirs:
            raise ScoreError(f"{pair} were asked different questions: {ours} and {theirs}")


def rows(
    domain: str,
    run: str,
    variants: Sequence[dict[str, Any]],
    answers: dict[str, list[dict[str, Any]]],
) -> Iterator[tuple[Any, ...]]:
    """One row per variant, benchmark and metric; scores are fractions with six decimals.

    A benchmark that a variant was not asked has one row without a score.
    """
    for variant in variants:
        for benchmark, result in variant["benchmarks"].items():
            given = [
                row for row in answers.get(variant["variant"], ()) if row["benchmark"] == benchmark
            ]
            groups = [group_of(row) for row in given]
            for metric, score in result["metrics"].items():
                worth = given and independent([float(row[metric]) for row in given], groups)
                yield (
                    domain,
                    run,
                    variant["variant"],
                    benchmark,
                    metric,
                    f"{score:.6f}",
                    result["n"],
                    f"{worth:.1f}" if worth else "",
                )
        for benchmark in variant.get(NOT_ASKED, {}):
            yield domain, run, variant["variant"], benchmark, NOT_ASKED, "", 0, ""


def question_rows(answers: dict[str, list[dict[str, Any]]]) -> Iterator[list[Any]]:
    """The rows of the table of all questions, headings first.

    Benchmarks are in their order, and in each of them the questions that more variants got wrong
    come first; what the base model got wrong, which it is expected to, counts last.

    Args:
        answers: by variant, the rows of its predictions.jsonl, all of the same questions, less
            whole benchmarks.
    """
    columns = [column for variant in answers for column in (variant, f"{variant} right")]
    chooses = any("choice" in row for rows in answers.values() for row in rows)
    chosen = [f"{variant} chooses" for variant in answers] if chooses else []
    yield ["benchmark", "subject", "id", "question", "options", "expected", *columns, *chosen]
    questions = together(answers)
    order = {name: number for number, name in enumerate(dict.fromkeys(q for q, _ in questions))}

    def rank(question: tuple[str, str]) -> tuple[int, int, bool]:
        wrong = {variant: not row["correct"] for variant, row in questions[question].items()}
        base = wrong.pop("base", False)
        return order[question[0]], -sum(wrong.values()), base

    for benchmark, name in sorted(questions, key=rank):
        given = questions[benchmark, name]
        first = next(iter(given.values()))
        options = first.get("options") or {}
        cells = [
            (given[variant]["prediction"], int(given[variant]["correct"]))
            if variant in given
            else (NOT_ASKED.replace("_", " "), "")
            for variant in answers
        ]
        choices = [given.get(variant, {}).get("choice") or "" for variant in answers]
        yield [
            benchmark,
            first.get("subject", ""),
            name,
            first["question"],
            "\n".join(f"{letter}. {text}" for letter, text in options.items()),
            first["answer"],
            *(part for cell in cells for part in cell),
            *(choices if chooses else []),
        ]


def together(
    answers: dict[str, list[dict[str, Any]]],
) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """By benchmark and id of a question, in their order, the rows of the variants that were asked.

    Raises:
        ScoreError: a variant was asked some questions of a benchmark, and not those of the others.
    """
    found = {
        variant: {(row["benchmark"], row["id"]): row for row in rows}
        for variant, rows in answers.items()
    }
    everything = max(found.values(), key=len)
    for variant, rows in found.items():
        asked = {benchmark for benchmark, _ in rows}
        expected = [question for question in everything if question[0] in asked]
        for ours, theirs in zip_longest(rows, expected):
            if ours != theirs:
                raise ScoreError(f"'{variant}' was asked {ours} where the others were {theirs}")
    return {
        question: {variant: rows[question] for variant, rows in found.items() if question in rows}
        for question in everything
    }


def read_answers(path: Path) -> list[dict[str, Any]]:
    """The rows of a predictions.jsonl."""
    # a line ends at \n only: U+2028 and its like are characters of an answer
    with path.open(encoding="utf-8", newline="\n") as file:
        return [json.loads(line) for line in file]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--domain", required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--variants", nargs="+", required=True, help="their names in this run")
    parser.add_argument(
        "--metrics", nargs="+", type=Path, required=True, help="metrics.json, as many"
    )
    parser.add_argument(
        "--predictions", nargs="+", type=Path, required=True, help="predictions.jsonl, as many"
    )
    parser.add_argument(
        "--reward-accuracy", type=Path, help="accuracy.json of the run's reward model"
    )
    parser.add_argument("--scores", type=Path, required=True, help="table to write, CSV")
    parser.add_argument("--questions", type=Path, required=True, help="table of all questions, CSV")
    args = parser.parse_args(argv)
    try:
        # what one run starts from may be what another one calls tuned
        variants = [
            json.loads(path.read_text(encoding="utf-8")) | {"variant": name}
            for name, path in zip(args.variants, args.metrics, strict=True)
        ]
        check_comparable(variants)
        answers = dict(zip(args.variants, map(read_answers, args.predictions), strict=True))
        questions = list(question_rows(answers))
        if args.reward_accuracy:
            # it scores pairs and answers nothing: there is no backend to have in common
            variants.append(json.loads(args.reward_accuracy.read_text(encoding="utf-8")))
    except (ScoreError, OSError, json.JSONDecodeError) as error:
        sys.exit(f"collect_scores: {error}")
    with open(args.scores, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows(args.domain, args.run, variants, answers))
    # marked as UTF-8, for Excel takes it for something else otherwise
    with open(args.questions, "w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([cell(str(part)) for part in row] for row in questions)


if __name__ == "__main__":
    main()
