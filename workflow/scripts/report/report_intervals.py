"""How far chance may have moved each score, and each difference, of one run."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from report_inputs import Score
from report_numbers import (
    PROPORTIONS,
    certainly_differ,
    difference_interval,
    group_of,
    mean_interval,
    wilson,
)

Interval = tuple[float, float]
Values = Mapping[str, tuple[float, Hashable]]


@dataclass
class Intervals:
    """95% intervals of one benchmark and metric: of scores, and of differences, by variant.

    `certain` are the variants whose difference is beyond chance.
    """

    scores: dict[str, Interval] = field(default_factory=dict)
    differences: dict[str, Interval] = field(default_factory=dict)
    certain: set[str] = field(default_factory=set)


def values_of(answers: Sequence[Mapping[str, Any]], benchmark: str, metric: str) -> Values:
    """What each question of a benchmark scores in a metric, and its group (`group_of`), by its id.

    None where it is unknown.
    """
    return {
        row["id"]: (float(row[metric]), group_of(row))
        for row in answers
        if row["benchmark"] == benchmark and metric in row
    }


def shared(before: Values, after: Values) -> tuple[list[float], list[float], list[Hashable]]:
    """The values of the questions that both have, and the groups of these."""
    names = [name for name in before if name in after]
    return (
        [before[name][0] for name in names],
        [after[name][0] for name in names],
        [after[name][1] for name in names],
    )


def change(before: Values, after: Values) -> Interval | None:
    """Interval of a difference, over the questions that both have; None where they have none."""
    found = shared(before, after)
    return difference_interval(*found) if found[0] else None


def interval_of(score: Score, values: Values) -> Interval | None:
    """Interval of a score; None where it is no share, and there are no values."""
    if score.metric in PROPORTIONS:
        return wilson(score.score, score.worth)
    return mean_interval(*map(list, zip(*values.values(), strict=True))) if values else None


def intervals_of(
    scores: Sequence[Score],
    answers: Mapping[str, Sequence[Mapping[str, Any]]],
    compared_with: Mapping[str, str],
) -> dict[tuple[str, str], Intervals]:
    """By benchmark and metric, the intervals of a run's scores.

    Args:
        scores: of the run.
        answers: the answers of each variant.
        compared_with: variant -> the variant it is compared with.
    """
    found: dict[tuple[str, str], Intervals] = {}
    values = {
        (score.variant, score.benchmark, score.metric): values_of(
            answers.get(score.variant, ()), score.benchmark, score.metric
        )
        for score in scores
    }
    for score in scores:
        entry = found.setdefault((score.benchmark, score.metric), Intervals())
        here = values[score.variant, score.benchmark, score.metric]
        if own := interval_of(score, here):
            entry.scores[score.variant] = own
        other = compared_with.get(score.variant)
        before = values.get((other, score.benchmark, score.metric), {}) if other else {}
        if (interval := change(before, here)) is not None:
            entry.differences[score.variant] = interval
            if certainly_differ(*shared(before, here)):
                entry.certain.add(score.variant)
    return found
