"""What became of each gate of the configuration, in each run that it is about."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report_inputs import InputError, Score
from report_intervals import Interval, change, interval_of, values_of
from report_numbers import (
    leading_metric,
    percent,
    points,
    words,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "config"))
from gates import Gate, parse


@dataclass(frozen=True)
class GateState:
    """A gate and what was measured: `points` in per cent, or in points where scores are compared.

    `interval` is its 95% interval as fractions, None where the answers are not at hand.
    """

    gate: Gate
    run: str
    metric: str
    points: float
    holds: bool
    sentence: str
    interval: Interval | None


def state_of(
    gate: Gate,
    run: str,
    scores: Sequence[Score],
    answers: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> GateState | None:
    """What became of a gate in a run; None where the run has not all of its variants.

    Args:
        gate: the gate.
        run: the run's name.
        scores: the run's scores.
        answers: by variant, for the interval; None: it is not needed.

    Raises:
        InputError: the run has no such score.
    """
    if not set(gate.variants) <= {score.variant for score in scores}:
        return None
    found = {
        (score.variant, score.metric): score
        for score in scores
        if score.benchmark == gate.benchmark
    }
    metrics = [metric for variant, metric in found if variant == gate.variant]
    metric = gate.metric or (leading_metric(metrics) if metrics else "score")
    for variant in gate.variants:
        if (variant, metric) not in found:
            raise InputError(
                f"gate '{gate.text}': the run {run} has no {metric} of {variant} on "
                f"{gate.benchmark}; it has {', '.join(dict.fromkeys(metrics)) or 'none'}."
            )
    score = found[gate.variant, metric]
    measured = f"{gate.variant} has {percent(score.score)}"
    value = score.score
    given = (answers or {}).get(gate.variant, ())
    interval = interval_of(score, values_of(given, gate.benchmark, metric))
    if gate.other:
        other = found[gate.other, metric]
        value -= other.score
        measured += f" and {gate.other} {percent(other.score)}: {points(value)} points"
        interval = answers and change(
            *(
                values_of(answers.get(name, ()), gate.benchmark, metric)
                for name in (gate.other, gate.variant)
            )
        )
    holds = gate.holds(100 * value)
    return GateState(
        gate=gate,
        run=run,
        metric=metric,
        points=100 * value,
        holds=holds,
        sentence=(
            f"'{gate.text}' {'holds' if holds else 'does not hold'} in {run}: {measured} "
            f"({words(metric)}, {score.n:,} questions)."
        ),
        interval=interval,
    )


def states(texts: Sequence[str], first: str, runs: Sequence[Mapping[str, Any]]) -> list[GateState]:
    """What became of all gates, in their order and that of the runs.

    Args:
        texts: the gates, as in the configuration.
        first: the benchmark of a gate that names none.
        runs: each {"name", "scores", "answers"?}.
    """
    found = [
        state_of(gate, run["name"], run["scores"], run.get("answers"))
        for gate in (parse(text, first) for text in texts)
        for run in runs
    ]
    return [state for state in found if state]
