"""How far chance may have moved each score, and each difference, of one run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from report_inputs import Score
from report_numbers import (
    PROPORTIONS,
    certainly_differ,
    difference_interval,
    mean_interval,
    wilson,
)

Interval = tuple[float, float]


@dataclass
class Intervals:
    """95% intervals of one benchmark and metric: of scores, and of differences, by variant.

    `certain` are the variants whose difference is beyond chance.
    """

    scores: dict[str, Interval] = field(default_factory=dict)
    differences: dict[str, Interval] = field(default_factory=dict)
    certain: set[str] = field(default_factory=set)


def values_of(
    answers: Sequence[Mapping[str, Any]], benchmark: str, metric: str
) -> dict[str, float]:
    """What each question of a benchmark scores in a metric, by its id; none where it is unknown."""
    return {
        row["id"]: float(row[metric])
        for row in answers
        if row["benchmark"] == benchmark and metric in row
    }


def shared(
    before: Mapping[str, float], after: Mapping[str, float]
) -> tuple[list[float], list[float]]:
    """The values of the questions that both have."""
    names = [name for name in before if name in after]
    return [before[name] for name in names], [after[name] for name in names]


def change(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[float, float] | None:
    """Interval of a difference, over the questions that both have; None where they have none."""
    values = shared(before, after)
    return difference_interval(*values) if values[0] else None


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
        if score.metric in PROPORTIONS:
            entry.scores[score.variant] = wilson(score.score, score.n)
        elif here:
            entry.scores[score.variant] = mean_interval(list(here.values()))
        other = compared_with.get(score.variant)
        before = values.get((other, score.benchmark, score.metric), {}) if other else {}
        if (interval := change(before, here)) is not None:
            entry.differences[score.variant] = interval
            if certainly_differ(*shared(before, here)):
                entry.certain.add(score.variant)
    return found
