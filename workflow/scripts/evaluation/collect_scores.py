"""Put the scores of all variants of a run into one table, and its reward model's beside them."""

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

COLUMNS = ("domain", "run", "variant", "benchmark", "metric", "score", "n")


class ScoreError(ValueError):
    """The variants cannot be compared; the message says why."""


def check_comparable(variants: Sequence[dict[str, Any]]) -> None:
    """Raise ScoreError unless all variants answered equally many questions under one setting."""
    for first, other in pairwise(variants):
        pair = f"'{first['variant']}' and '{other['variant']}'"
        for key in sorted(first["backend"].keys() | other["backend"].keys()):
            ours, theirs = first["backend"].get(key), other["backend"].get(key)
            if ours != theirs:
                raise ScoreError(f"{pair} were evaluated differently: {key} is {ours} and {theirs}")
        ours = {name: score["n"] for name, score in first["benchmarks"].items()}
        theirs = {name: score["n"] for name, score in other["benchmarks"].items()}
        if ours != theirs:
            raise ScoreError(f"{pair} were asked different questions: {ours} and {theirs}")


def rows(domain: str, run: str, variants: Sequence[dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """One row per variant, benchmark and metric; scores are fractions with six decimals."""
    for variant in variants:
        for benchmark, result in variant["benchmarks"].items():
            for metric, score in result["metrics"].items():
                yield (
                    domain,
                    run,
                    variant["variant"],
                    benchmark,
                    metric,
                    f"{score:.6f}",
                    result["n"],
                )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--domain", required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--metrics", nargs="+", type=Path, required=True, help="metrics.json files")
    parser.add_argument(
        "--reward-accuracy", type=Path, help="accuracy.json of the run's reward model"
    )
    parser.add_argument("--scores", type=Path, required=True, help="table to write, CSV")
    args = parser.parse_args(argv)
    try:
        variants = [json.loads(path.read_text(encoding="utf-8")) for path in args.metrics]
        check_comparable(variants)
        if args.reward_accuracy:
            # it scores pairs and answers nothing: there is no backend to have in common
            variants.append(json.loads(args.reward_accuracy.read_text(encoding="utf-8")))
    except (ScoreError, OSError, json.JSONDecodeError) as error:
        sys.exit(f"collect_scores: {error}")
    with open(args.scores, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows(args.domain, args.run, variants))


if __name__ == "__main__":
    main()
