"""The arithmetic of the report: differences, intervals, and paired comparisons.

Nothing here reads a file or writes HTML, so that every number on the page can be tested alone.
"""

import math
import sys
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from report_inputs import InputError, Score

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))
from independence import GROUPED_BY, group_of, independent, sums

# Made of the tuned model, and compared with it; the others come one after the other.
QUANTISED = ("awq", "int4", "turbomind", "served")
# Scored by the pairs it orders rightly: no variant of the model that answers.
REWARD = "reward"
# The first metric of this list that a benchmark has stands for it in headlines and charts. Answers
# long enough for ROUGE-L hardly ever are the expected ones word for word.
LEADING_METRICS = ("rouge_l", "exact_match", "accuracy")
# Metrics that are a share of questions; these have a Wilson interval.
PROPORTIONS = ("exact_match", "accuracy", "accuracy_norm", "contains", "no_choice")
# So often the questions are drawn anew for the interval of a mean that is no share. Drawn from
# fewer questions than the second number, they would say far too little of what else there is.
RESAMPLES, FEWEST_DRAWN = 2_000, 10
# A change that chance would bring about less often than this is called a change.
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class ScoreRow:
    """One line of the score table: a run's benchmark and metric for every variant.

    `scores` maps variant to a fraction 0..1, `worth` to a number of independent questions;
    `differences` maps a variant to its score less that
    of the variant it is compared with (`compared_with`).
    """

    run: str
    benchmark: str
    metric: str
    n: int
    scores: dict[str, float]
    differences: dict[str, float]
    leading: bool
    worth: dict[str, float]


@dataclass(frozen=True)
class Paired:
    """How the answers to the same questions changed from one variant to another.

    `gained` questions became right, `lost` became wrong; where answers are `graded`, they became
    better and worse. `p` is the two-sided exact sign test (McNemar) of "gains and losses are
    equally likely", of the facts that are asked for; `interval` the 95% interval of the difference
    of the two scores.
    """

    questions: int
    gained: int
    lost: int
    p: float
    interval: tuple[float, float]
    graded: bool = False


def wilson(score: float, n: float, z: float = 1.959964) -> tuple[float, float]:
    """95% interval of a proportion (Wilson 1927), which holds up near 0 and 1 too."""
    centre = (score + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(score * (1 - score) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap(values: Sequence[float], groups: Sequence[Hashable]) -> tuple[float, float]:
    """95% interval of a mean: of groups of values drawn anew, as many as there are (Efron 1979)."""
    totals, sizes = sums(values, groups), sums([1.0] * len(values), groups)
    pairs = [(total, sizes[group]) for group, total in totals.items()]
    found, counts = np.unique(np.asarray(pairs), axis=0, return_counts=True)
    n, draw = len(pairs), np.random.default_rng(0)
    means = []
    # some at a time: each is as long as there are different values
    for _ in range(RESAMPLES // 100):
        total, size = (draw.multinomial(n, counts / n, size=100) @ found).T
        means.append(total / size)
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)


def mean_interval(
    values: Sequence[float], groups: Sequence[Hashable], lowest: float = 0.0
) -> tuple[float, float]:
    """95% interval of a mean of values between `lowest` and 1.

    Of few groups it is Wilson's, as if each value were one of the two ends: no values vary more.
    """
    if len(set(groups)) >= FEWEST_DRAWN:
        return bootstrap(values, groups)
    span = 1 - lowest
    low, high = wilson((sum(values) / len(values) - lowest) / span, independent(values, groups))
    return lowest + span * low, lowest + span * high


def newcombe(both: float, gained: float, lost: float, neither: float) -> tuple[float, float]:
    """95% interval of the difference of two shares of the same questions (Newcombe 1998, no. 10).

    Unlike a bootstrap it does not shrink to a point where hardly any answer has changed.

    Args:
        both: questions right before and after.
        gained: right after only.
        lost: right before only.
        neither: wrong before and after.
    """
    n = both + gained + lost + neither
    before, after = (both + lost) / n, (both + gained) / n
    margins = (both + lost) * (gained + neither) * (both + gained) * (lost + neither)
    cross = both * neither - gained * lost
    # corrected for continuity
    cross = max(cross - n / 2, 0.0) if cross > 0 else cross
    phi = cross / math.sqrt(margins) if margins else 0.0
    (low_before, high_before), (low_after, high_after) = wilson(before, n), wilson(after, n)

    def distance(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))

    return (
        after - before - distance(after - low_after, high_before - before),
        after - before + distance(high_after - after, before - low_before),
    )


def difference_interval(
    before: Sequence[float], after: Sequence[float], groups: Sequence[Hashable]
) -> tuple[float, float]:
    """95% interval of the difference of the means of values of the same questions.

    Args:
        before: a value of each question.
        after: another one.
        groups: what each question shares with those that are not independent of it.
    """
    differences = [b - a for a, b in zip(before, after, strict=True)]
    if {*before, *after} <= {0, 1}:
        share = independent(differences, groups) / len(differences)
        changes = [2 * was + is_now for was, is_now in zip(before, after, strict=True)]
        return newcombe(*(share * changes.count(kind) for kind in (3, 1, 2, 0)))
    return mean_interval(differences, groups, -1.0)


def change_p(before: Sequence[float], after: Sequence[float], groups: Sequence[Hashable]) -> float:
    """The p value of the sign test of how many groups gained, and how many lost."""
    changes = sums((b - a for a, b in zip(before, after, strict=True)), groups).values()
    # what a group gains and loses may not cancel out to the last digit
    return sign_test(
        sum(change > 1e-9 for change in changes), sum(change < -1e-9 for change in changes)
    )


def certainly_differ(
    before: Sequence[float], after: Sequence[float], groups: Sequence[Hashable]
) -> bool:
    """Whether chance alone hardly makes the means of values of the same questions so unequal.

    By both measures that the report shows: an interval may leave out 0 where the sign test says
    that the split is not so rare.
    """
    low, high = difference_interval(before, after, groups)
    return change_p(before, after, groups) < SIGNIFICANT and (low > 0 or high < 0)


def sign_test(gained: int, lost: int) -> float:
    """Two-sided exact p value of `gained` against `lost` when either is as likely."""
    n = gained + lost
    tail, ways = 0, 1  # exact integers: 0.5 ** n is 0 in floating point from about n = 1,075 on
    for k in range(min(gained, lost) + 1):
        tail += ways
        ways = ways * (n - k) // (k + 1)
    return min(1.0, 2 * tail / 2**n)


def counted(metric: str) -> str:
    """The key of an answer that says what it counts in a leading metric."""
    return "correct" if metric in PROPORTIONS else metric


def compared(row: dict[str, Any], key: str) -> dict[str, Any]:
    """What `paired` reads of an answer."""
    return {name: row[name] for name in (*GROUPED_BY, key) if name in row}


def paired(
    before: Iterable[dict[str, Any]], after: Iterable[dict[str, Any]], key: str = "correct"
) -> Paired | None:
    """Compares the answers of two variants to the same questions (matched by id), by `key`.

    None when they share no question.
    """
    had = {row["id"]: float(row[key]) for row in before}
    found = [(had[row["id"]], float(row[key]), group_of(row)) for row in after if row["id"] in had]
    if not found:
        return None
    was, is_now, groups = zip(*found, strict=True)
    return Paired(
        questions=len(found),
        gained=sum(b > a for a, b, _ in found),
        lost=sum(b < a for a, b, _ in found),
        p=change_p(was, is_now, groups),
        interval=difference_interval(was, is_now, groups),
        graded=key != "correct",
    )


def compared_with(variants: Sequence[str]) -> dict[str, str]:
    """Variant -> the variant it is compared with, of those evaluated, in their order.

    Each stage is compared with the stage before it, so that one sees what it added; 4 bits with
    the tuned model they were made of.
    """
    models = [variant for variant in variants if variant not in QUANTISED]
    chain = {later: earlier for earlier, later in pairwise(models)}
    quantised = [variant for variant in variants if variant in QUANTISED]
    return chain | (dict.fromkeys(quantised, "tuned") if "tuned" in variants else {})


def final_variant(variants: Sequence[str]) -> str:
    """The variant that stands for a run: its last model in full precision, else its last one."""
    return [*variants, *(variant for variant in variants if variant not in QUANTISED)][-1]


def leading_metric(metrics: Sequence[str]) -> str:
    """The metric that stands for a benchmark."""
    return next((metric for metric in LEADING_METRICS if metric in metrics), metrics[0])


def score_table(scores: Sequence[Score]) -> list[ScoreRow]:
    """One row per run x benchmark x metric, in the order of the scores; leading metric first.

    The reward model is left out: it was asked for pairs, not for answers.

    Raises InputError when the variants were not asked the same number of questions: their
    scores would not be comparable.
    """
    cells: dict[tuple[str, str], dict[str, dict[str, Score]]] = {}
    for score in scores:
        if score.variant == REWARD:
            continue
        metrics = cells.setdefault((score.run, score.benchmark), {})
        metrics.setdefault(score.metric, {})[score.variant] = score
    rows = []
    for (run, benchmark), metrics in cells.items():
        leading = leading_metric(list(metrics))
        for metric in sorted(metrics, key=lambda name: name != leading):
            by_variant = metrics[metric]
            asked = {variant: score.n for variant, score in by_variant.items()}
            if len(set(asked.values())) > 1:
                counts = ", ".join(f"{variant} {n}" for variant, n in asked.items())
                raise InputError(
                    f"scores of run {run}, {benchmark}, {metric}: the variants were asked "
                    f"different numbers of questions ({counts}) and cannot be compared. "
                    "Run the evaluation again."
                )
            values = {variant: score.score for variant, score in by_variant.items()}
            differences = {
                variant: values[variant] - values[other]
                for variant, other in compared_with(list(values)).items()
            }
            rows.append(
                ScoreRow(
                    run, benchmark, metric, next(iter(asked.values())), values, differences,
                    metric == leading, {v: score.worth for v, score in by_variant.items()},
                )
            )  # fmt: skip
    return rows


def smoothed(values: Sequence[float], share: float = 0.06) -> list[float]:
    """Running mean over the neighbours on both sides, `share` of all values in all.

    Centred, so that it does not lag behind a falling loss; the window shrinks at both ends.
    """
    reach = max(1, round(len(values) * share / 2))
    result = []
    for index in range(len(values)):
        here = min(reach, index, len(values) - 1 - index)
        window = values[index - here : index + here + 1]
        result.append(sum(window) / len(window))
    return result


def words(name: str) -> str:
    """exact_match -> "exact match"; the metric that is a name keeps it."""
    return "ROUGE-L" if name == "rouge_l" else name.replace("_", " ")


def percent(fraction: float) -> str:
    """0.9536 -> "95.4%"."""
    return f"{100 * fraction:.1f}%"


def points(difference: float) -> str:
    """0.9536 -> "+95.4"; a true minus sign, and no sign on what rounds to zero."""
    text = f"{100 * difference:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text


def duration(seconds: float) -> str:
    """83 -> "1 min 23 s"."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def memory(mib: float) -> str:
    """1234.5 -> "1.21 GiB"."""
    return f"{mib / 1024:.2f} GiB" if mib >= 1000 else f"{mib:.0f} MiB"


def size(count: float) -> str:
    """Bytes: 8388608 -> "8.0 MiB"."""
    mib = count / 2**20
    return f"{mib:.1f} MiB" if mib < 1000 else f"{mib / 1024:.2f} GiB"


def p_value(p: float) -> str:
    """0.0312 -> "p = 0.031"; 0.0002 -> "p < 0.001"; no line breaks within."""
    return "p\xa0<\xa00.001" if p < 0.001 else f"p\xa0=\xa0{p:.3f}"


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values of several tests, raised so that all of them together err rarely (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def spread(rows: Sequence[Any], count: int) -> list[Any]:
    """`count` of `rows`, evenly spaced and in order; all of them if there are fewer."""
    if len(rows) <= count:
        return list(rows)
    return [rows[index * len(rows) // count] for index in range(count)]
