"""The arithmetic of the report: differences, intervals, paired comparisons, and the verdict.

Nothing here reads a file or writes HTML, so that every number on the page can be tested alone.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from report_inputs import InputError, Score

# The order in which the variants are made, and what each is compared with.
VARIANTS = ("base", "tuned", "awq", "turbomind")
COMPARED_WITH = {"tuned": "base", "awq": "tuned", "turbomind": "tuned"}
# The first metric of this list that a benchmark has stands for it in headlines and charts.
LEADING_METRICS = ("exact_match", "accuracy")
# Metrics that are the share of questions answered right; only these have a Wilson interval.
PROPORTIONS = (*LEADING_METRICS, "contains")
# A change that chance would bring about less often than this is called a change.
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class ScoreRow:
    """One line of the score table: a run's benchmark and metric for every variant.

    `scores` maps variant to a fraction 0..1; `differences` maps a variant to its score less that
    of the variant it is compared with (`COMPARED_WITH`), where both were evaluated.
    """

    run: str
    benchmark: str
    metric: str
    n: int
    scores: dict[str, float]
    differences: dict[str, float]
    leading: bool


@dataclass(frozen=True)
class Paired:
    """How the answers to the same questions changed from one variant to another.

    `gained` questions became right, `lost` became wrong; `p` is the two-sided exact sign test
    (McNemar) of "gains and losses are equally likely".
    """

    questions: int
    gained: int
    lost: int
    p: float


def wilson(score: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """95% interval of a proportion (Wilson 1927), which holds up near 0 and 1 too."""
    centre = (score + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(score * (1 - score) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def sign_test(gained: int, lost: int) -> float:
    """Two-sided exact p value of `gained` against `lost` when either is as likely."""
    n = gained + lost
    tail, ways = 0, 1  # exact integers: 0.5 ** n is 0 in floating point from about n = 1,075 on
    for k in range(min(gained, lost) + 1):
        tail += ways
        ways = ways * (n - k) // (k + 1)
    return min(1.0, 2 * tail / 2**n)


def paired(before: Iterable[dict[str, Any]], after: Iterable[dict[str, Any]]) -> Paired | None:
    """Compares the answers of two variants to the same questions (matched by id).

    None when they share no question.
    """
    right = {row["id"]: bool(row["correct"]) for row in before}
    gained = lost = questions = 0
    for row in after:
        if row["id"] in right:
            questions += 1
            gained += bool(row["correct"]) and not right[row["id"]]
            lost += right[row["id"]] and not row["correct"]
    return Paired(questions, gained, lost, sign_test(gained, lost)) if questions else None


def variants_of(scores: Sequence[Score]) -> list[str]:
    """The variants that were evaluated: the known ones in their order, then any other."""
    present = list(dict.fromkeys(score.variant for score in scores))
    return [v for v in VARIANTS if v in present] + [v for v in present if v not in VARIANTS]


def leading_metric(metrics: Sequence[str]) -> str:
    """The metric that stands for a benchmark."""
    return next((metric for metric in LEADING_METRICS if metric in metrics), metrics[0])


def score_table(scores: Sequence[Score]) -> list[ScoreRow]:
    """One row per run x benchmark x metric, in the order of the scores; leading metric first.

    Raises InputError when the variants were not asked the same number of questions: their
    scores would not be comparable.
    """
    cells: dict[tuple[str, str], dict[str, dict[str, Score]]] = {}
    for score in scores:
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
                for variant, other in COMPARED_WITH.items()
                if variant in values and other in values
            }
            rows.append(
                ScoreRow(
                    run, benchmark, metric, next(iter(asked.values())), values, differences,
                    metric == leading,
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


@dataclass(frozen=True)
class Verdict:
    """What the numbers say about one run: a headline, sentences, and whether it is good news.

    `mood` is "good", "mixed" or "bad".
    """

    run: str
    mood: str
    headline: str
    sentences: list[str]


def _change(difference: float, test: Paired | None, tolerance: float) -> str:
    """ "up", "down" or "same".

    With the answers at hand: a change is what the sign test calls one; otherwise (a benchmark
    whose answers are not matched) what exceeds the tolerance.
    """
    if abs(difference) < 1e-9:
        return "same"
    certain = test.p < SIGNIFICANT if test is not None else abs(difference) > tolerance
    return ("up" if difference > 0 else "down") if certain else "same"


def verdict(
    run: str,
    rows: Sequence[ScoreRow],
    tests: dict[str, Paired | None],
    benchmark: str,
    names: dict[str, str],
    tolerance: float,
) -> Verdict:
    """Says in words what the leading metric of `benchmark` shows for `run`.

    Args:
        rows: the score table.
        tests: variant -> paired comparison with the variant it is compared with.
        benchmark: the benchmark that counts, the first one of the configuration.
        names: variant -> what to call it in a sentence.
        tolerance: a 4-bit variant may lose this much (fraction) and still count as kept.
    """
    row = next((r for r in rows if r.run == run and r.benchmark == benchmark and r.leading), None)
    if row is None:
        raise InputError(f"run {run} has no scores of the benchmark {benchmark}.")
    metric = row.metric.replace("_", " ")
    sentences: list[str] = []
    learned: str | None = None
    if "tuned" in row.differences:
        learned = _change(row.differences["tuned"], tests.get("tuned"), tolerance)
        before, after = percent(row.scores["base"]), percent(row.scores["tuned"])
        text = {
            "up": f"Tuning raised {metric} on {benchmark} from {before} to {after}",
            "down": f"Tuning lowered {metric} on {benchmark} from {before} to {after}",
            "same": f"Tuning made no certain difference to {metric} on {benchmark}: "
            f"{before} before, {after} after",
        }[learned]
        sentences.append(f"{text} ({row.n:,} questions).")
    else:
        measured = ", ".join(f"{names.get(v, v)} {percent(s)}" for v, s in row.scores.items())
        sentences.append(f"{metric.capitalize()} on {benchmark}: {measured} ({row.n:,} questions).")
    damaged = []
    quantised = [v for v in ("awq", "turbomind") if v in row.differences]
    for variant in quantised:
        difference, test = row.differences[variant], tests.get(variant)
        text = f"{names[variant]} scores {percent(row.scores[variant])}"
        text += f" ({points(difference)} points against tuned"
        if test is not None:
            answers = "answer" if test.lost == 1 else "answers"
            text += f"; {test.lost:,} {answers} became wrong, {test.gained:,} right"
        sentences.append(text + ").")
        if difference < -tolerance - 1e-9:
            damaged.append(variant)
    if learned == "down":
        mood, headline = "bad", "Tuning made the model worse"
    elif learned == "same":
        mood, headline = "bad", "Tuning taught the model nothing that shows"
    elif damaged:
        mood = "mixed"
        lost = " and ".join(names[v] for v in damaged)
        headline = "The model learned, but" if learned else "The scores are in, but"
        headline += f" {lost} lost more than {100 * tolerance:g} points"
    elif learned == "up":
        mood = "good"
        headline = "The model learned" + (", and 4-bit keeps it" if quantised else "")
    else:
        mood = "mixed"
        headline = "4-bit keeps the tuned score" if quantised else "The scores are in"
    return Verdict(run, mood, headline, sentences)
