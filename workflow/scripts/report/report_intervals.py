"""How far chance may have moved each score, and each difference, of one run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from report_inputs import Score
from report_numbers import PROPORTIONS, bootstrap, difference_interval, wilson

Interval = tuple[float, float]


@dataclass
class Intervals:
    """95% intervals of one benchmark and metric: of scores, and of differences, by variant."""

    scores: dict[str, Interval] = field(default_factory=dict)
    differences: dict[str, Interval] = field(default_factory=dict)


def values_of(
    answers: Sequence[Mapping[str, Any]], benchmark: str, metric: str
) -> dict[str, float]:
    """What each question of a benchmark scores in a metric, by its id; none where it is unknown."""
    return {
        row["id"]: float(row[metric])
        for row in answers
        if row["benchmark"] == benchmark and metric in row
    }


def change(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[float, float] | None:
    """Interval of a difference, over the questions that both have; None where they have none."""
    shared = [name for name in before if name in after]
    if not shared:
        return None
    return difference_interval([before[i] for i in shared], [after[i] for i in shared])


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
            entry.scores[score.variant] = bootstrap(list(here.values()))
        other = compared_with.get(score.variant)
        before = values.get((other, score.benchmark, score.metric), {}) if other else {}
        if (interval := change(before, here)) is not None:
            entry.differences[score.variant] = interval
    return found
