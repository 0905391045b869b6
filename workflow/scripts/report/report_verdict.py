"""What the numbers say about one run, in words."""

from dataclasses import dataclass, replace

from report_inputs import InputError, Score
from report_numbers import (
    QUANTISED,
    SIGNIFICANT,
    Paired,
    ScoreRow,
    compared_with,
    holm,
    p_value,
    percent,
    points,
    sign_test,
    words,
)

# The stages that learn from preferences, and the benchmark that asks for these.
PREFERENCE_STAGES = ("dpo", "orpo")
PREFERENCES = "heldout_preference"


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


@dataclass(frozen=True)
class Evidence:
    """What one run showed.

    `rows` its part of the score table; `tests` benchmark -> variant -> paired comparison with the
    variant that `compared_with` gives; `overall` benchmark -> that of its final variant with the
    first; `reward` the score of its reward model; `methods` those of its stages that change the
    model; `kept` the benchmarks that ask for what the model should not forget.
    """

    run: str
    rows: list[ScoreRow]
    tests: dict[str, dict[str, Paired | None]]
    overall: dict[str, Paired | None]
    reward: Score | None
    methods: list[str]
    kept: list[str]


_KEPT = {"up": "has risen", "down": "has fallen", "same": "shows no certain difference"}


def _leading_row(evidence: Evidence, benchmark: str) -> ScoreRow | None:
    return next((row for row in evidence.rows if row.benchmark == benchmark and row.leading), None)


def _changed(test: Paired | None, n: int) -> str:
    """The end of a sentence about `n` questions: how certain it is, as far as the answers tell."""
    if test is None:
        return f" ({n:,} questions)."
    answers = "answer" if test.gained == 1 else "answers"
    gained, lost = ("better", "worse") if test.graded else ("right", "wrong")
    return (
        f" ({n:,} questions: {test.gained:,} {answers} became {gained}, {test.lost:,} {lost}; "
        f"{_interval(test)}; {p_value(test.p)})."
    )


def _begin(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _interval(test: Paired) -> str:
    """Where the difference lies, as far as chance allows."""
    low, high = test.interval
    return f"95% interval {points(low)} to {points(high)} points"


def _four_bit(difference: float, test: Paired | None, tolerance: float) -> str:
    """ "kept", "lost", or "open" where there were too few questions to tell.

    A difference is "kept" if its whole interval lies above the tolerance, and "lost" if it lies
    below, and the sign test calls it a change; without the answers the difference decides.
    """
    low, high = test.interval if test is not None else (difference, difference)
    if low >= -tolerance - 1e-9:
        return "kept"
    certain = test is None or test.p < SIGNIFICANT
    return "lost" if high < -tolerance - 1e-9 and certain else "open"


def _stage_sentence(
    evidence: Evidence, row: ScoreRow, variant: str, subject: str, tolerance: float
) -> tuple[str, str]:
    """What one stage did to one benchmark: ("up" | "down" | "same", a sentence)."""
    test = evidence.tests[row.benchmark].get(variant)
    change = _change(row.differences[variant], test, tolerance)
    metric = words(row.metric)
    other = compared_with(list(row.scores))[variant]
    before, after = percent(row.scores[other]), percent(row.scores[variant])
    text = {
        "up": f"{subject} raised {metric} on {row.benchmark} from {before} to {after}",
        "down": f"{subject} lowered {metric} on {row.benchmark} from {before} to {after}",
        "same": f"{subject} made no certain difference to {metric} on {row.benchmark}: "
        f"{before} before, {after} after",
    }[change]
    return change, text


def _kept_sentence(
    evidence: Evidence, benchmark: str, names: dict[str, str], tolerance: float
) -> tuple[list[str], list[str]]:
    """What all stages did to the model's other abilities: (those that have fallen, [a sentence]).

    There is no sentence where no benchmark of them was asked of two models in full precision. Of
    many benchmarks one looks different by chance: the p values are corrected for that (Holm).
    """
    rows, ends = [], []
    for other in evidence.kept:
        row = _leading_row(evidence, other) if other != benchmark else None
        models = [v for v in row.scores if v not in QUANTISED] if row else []
        if len(models) > 1:
            rows.append(row)
            ends.append((models[0], models[-1]))
    tests = [evidence.overall.get(row.benchmark) for row in rows]
    corrected = iter(holm([test.p for test in tests if test]))
    tests = [replace(test, p=next(corrected)) if test else None for test in tests]
    fallen, found = [], []
    for row, (first, last), test in zip(rows, ends, tests, strict=True):
        before, after = row.scores[first], row.scores[last]
        change = _change(after - before, test, tolerance)
        fallen += [row.benchmark] * (change == "down")
        scores = f"{names[first]} {percent(before)}, {names[last]} {percent(after)}"
        found.append((row, change, f"{_begin(words(row.metric))}: {scores}", test))
    if len(found) == 1:
        ((row, change, scores, test),) = found
        text = f"What it could do besides, on {row.benchmark}, {_KEPT[change]}"
        text += ": the model has forgotten something" if change == "down" else ""
        return fallen, [f"{text}. {scores}{_changed(test, row.n)}"]
    told = [
        f"{row.benchmark} {_KEPT[change]} ({scores}; {row.n:,} questions"
        + (f"; {_interval(test)}; {p_value(test.p)})" if test else ")")
        for row, change, scores, test in found
    ]
    return fallen, [f"What it could do besides: {', '.join(told)}."] if told else []


def _reward_sentence(score: Score) -> str:
    """What the reward model's score says, against guessing."""
    right = round(score.score * score.n)
    p = sign_test(right, score.n - right)
    text = (
        f"The reward model prefers the chosen answer in {percent(score.score)} of "
        f"{score.n:,} held-out pairs"
    )
    certain = "; guessing gives 50%" if p < SIGNIFICANT else ": no certain difference from guessing"
    return f"{text}{certain} ({p_value(p)})."


def verdict(
    evidence: Evidence,
    benchmark: str,
    names: dict[str, str],
    subjects: dict[str, str],
    tolerance: float,
) -> Verdict:
    """Says in words what the leading metric of `benchmark` shows for one run.

    Args:
        evidence: what the run showed.
        benchmark: the benchmark that counts, the first one of the configuration.
        names: variant -> what to call it, in this run.
        subjects: variant -> what to call the stage that made it.
        tolerance: a 4-bit variant may lose this much (fraction) and still count as kept.

    Raises InputError where the run has no scores of this benchmark.
    """
    row = _leading_row(evidence, benchmark)
    if row is None:
        raise InputError(f"run {evidence.run} has no scores of the benchmark {benchmark}.")
    metric = words(row.metric)
    stages = [variant for variant in row.differences if variant not in QUANTISED]
    sentences: list[str] = []
    learned: str | None = None
    worse: list[str] = []
    if len(stages) == 1:
        learned, text = _stage_sentence(evidence, row, stages[0], subjects[stages[0]], tolerance)
        sentences.append(text + _changed(evidence.tests[benchmark].get(stages[0]), row.n))
    elif stages:
        first, last = next(iter(row.scores)), stages[-1]
        test = evidence.overall.get(benchmark)
        learned = _change(row.scores[last] - row.scores[first], test, tolerance)
        together = "All stages" if first == "base" else f"The stages after {names[first]}"
        together += {
            "up": f" together raised {metric} on {benchmark} from",
            "down": f" together lowered {metric} on {benchmark} from",
            "same": f" together made no certain difference to {metric} on {benchmark}: from",
        }[learned]
        before, after = percent(row.scores[first]), percent(row.scores[last])
        sentences.append(f"{together} {before} to {after}{_changed(test, row.n)}")
        for variant in stages:
            change, text = _stage_sentence(evidence, row, variant, subjects[variant], tolerance)
            sentences.append(text + _changed(evidence.tests[benchmark].get(variant), row.n))
            worse += [subjects[variant]] * (change == "down")
    else:
        measured = ", ".join(f"{names.get(v, v)} {percent(s)}" for v, s in row.scores.items())
        sentences.append(f"{_begin(metric)} on {benchmark}: {measured} ({row.n:,} questions).")
    preferred = False
    preferences = _leading_row(evidence, PREFERENCES) if benchmark != PREFERENCES else None
    for variant in preferences.differences if preferences else ():
        method = evidence.methods[-1] if variant == "tuned" else variant
        if method in PREFERENCE_STAGES:
            subject = subjects[variant]
            change, text = _stage_sentence(evidence, preferences, variant, subject, tolerance)
            preferred |= change == "up"
            test = evidence.tests[PREFERENCES].get(variant)
            sentences.append(text + _changed(test, preferences.n))
    if evidence.reward:
        sentences.append(_reward_sentence(evidence.reward))
    forgotten, told = _kept_sentence(evidence, benchmark, names, tolerance)
    sentences += told
    quantised = [v for v in QUANTISED if v in row.differences]
    states = {}
    found_scores = []
    for variant in quantised:
        difference, test = row.differences[variant], evidence.tests[benchmark].get(variant)
        states[variant] = _four_bit(difference, test, tolerance)
        text = f"{names[variant]} scores {percent(row.scores[variant])}"
        text += f" ({points(difference)} points against tuned"
        found_scores.append(text + (f"; {_interval(test)})" if test is not None else ")"))
    if quantised:
        sentences.append(f"In 4 bits, {', '.join(found_scores)}.")
    damaged = [variant for variant, state in states.items() if state == "lost"]
    undecided = "open" in states.values()
    if learned == "down":
        mood, headline = "bad", "Tuning made the model worse"
    elif learned == "same" and not preferred:
        mood, headline = "bad", "Tuning taught the model nothing that shows"
    elif damaged:
        mood = "mixed"
        lost = " and ".join(names[v] for v in damaged)
        headline = "The model learned, but" if learned else "The scores are in, but"
        headline += f" {lost} lost more than {100 * tolerance:g} points"
    elif forgotten and learned == "up":
        mood = "mixed"
        headline = f"The model learned, but forgot some of {' and '.join(forgotten)}"
    elif worse:
        mood = "mixed"
        headline = f"The model learned, but {' and '.join(worse)} took some of it back"
    elif learned == "same":
        mood, headline = "good", "The model learned the preferences"
    elif learned == "up":
        mood = "good"
        headline = "The model learned"
        if undecided:
            headline += "; whether 4-bit keeps it takes more questions to tell"
        elif quantised:
            headline += ", and 4-bit keeps it"
    else:
        mood = "mixed"
        headline = "4-bit keeps the tuned score" if quantised else "The scores are in"
        if undecided:
            headline = "Whether 4-bit keeps the tuned score takes more questions to tell"
    return Verdict(evidence.run, mood, headline, sentences)
