"""What differs between runs, and which of them did best: for compare_runs.py and for the page."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report_inputs import Score
from report_numbers import (
    PROPORTIONS,
    REWARD,
    SIGNIFICANT,
    Paired,
    compared_with,
    final_variant,
    holm,
    score_table,
    wilson,
)

SCORE_FIELDS = (
    "variant", "benchmark", "metric", "score", "n", "interval_low", "interval_high",
    "compared_with", "difference",
)  # fmt: skip


def settings_of(run: dict[str, Any]) -> dict[str, Any]:
    """A run's settings, {"sft.learning_rate": 0.001, ...}, from its part of the inventory."""
    settings = {
        "base_model": run["base_model"],
        "start_from": run["start_from"],
        "stages": " + ".join(stage["method"] for stage in run["stages"]),
    }
    for stage in run["stages"]:
        settings |= flat(stage["training"], f"{stage['method']}.")
    return settings


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as dotted keys, in their order."""
    result: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict):
            result |= flat(item, f"{prefix}{key}.")
        else:
            result[prefix + key] = item
    return result


def differing(runs: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The settings that are not the same in all runs: run -> {setting: value}, all in one order.

    A setting of a stage is compared between the runs that have this stage; that some lack it is
    told by `stages`. Runs without it have the value None.
    """
    settings = {run["name"]: settings_of(run) for run in runs}
    keys = list(dict.fromkeys(key for found in settings.values() for key in found))
    kept = []
    for key in keys:
        values = [found[key] for found in settings.values() if key in found]
        if any(value != values[0] for value in values):
            kept.append(key)
    return {name: {key: found.get(key) for key in kept} for name, found in settings.items()}


def write_table(runs: Sequence[dict[str, Any]], scores: Sequence[Score], path: Path) -> None:
    """comparison.csv: a row per run, variant, benchmark and metric, with what differs between runs.

    Scores are fractions; the interval is the 95% Wilson interval, of shares only; the difference is
    to the variant named before it (the stage before, or the tuned model for 4 bits).
    """
    settings = differing(runs)
    variants = {run["name"]: compared_with(run["variants"]) for run in runs}
    found = {(s.run, s.variant, s.benchmark, s.metric): s.score for s in scores}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["run", *next(iter(settings.values())), *SCORE_FIELDS])
        for score in scores:
            interval: Sequence[str] = ("", "")
            if score.metric in PROPORTIONS:
                interval = [f"{end:.6f}" for end in wilson(score.score, score.worth)]
            other = variants[score.run].get(score.variant, "")
            before = found.get((score.run, other, score.benchmark, score.metric))
            difference = "" if before is None else f"{score.score - before:.6f}"
            writer.writerow(
                [
                    score.run,
                    *settings[score.run].values(),
                    score.variant,
                    score.benchmark,
                    score.metric,
                    f"{score.score:.6f}",
                    score.n,
                    *interval,
                    other,
                    difference,
                ]
            )


def final_scores(
    runs: Sequence[dict[str, Any]], scores: Sequence[Score]
) -> dict[str, dict[str, Score]]:
    """What stands for each run: benchmark -> run -> its final variant's score (leading metric).

    The reward models come last, as a benchmark of their own.
    """
    finals = {run["name"]: final_variant(run["variants"]) for run in runs}
    leading = {(row.run, row.benchmark): row.metric for row in score_table(scores) if row.leading}
    found: dict[str, dict[str, Score]] = {}
    for score in scores:
        if (
            score.variant == finals[score.run]
            and leading[score.run, score.benchmark] == score.metric
        ):
            found.setdefault(score.benchmark, {})[score.run] = score
    rewards = {score.run: score for score in scores if score.variant == REWARD}
    return found | ({"reward model": rewards} if rewards else {})


@dataclass(frozen=True)
class Effect:
    """The scores of the runs that have one value of a setting: how many, mean and range."""

    setting: str
    value: Any
    runs: int
    mean: float
    lowest: float
    highest: float


def effects(settings: dict[str, dict[str, Any]], scores: dict[str, Score]) -> list[Effect]:
    """What the runs scored with each value of each setting that differs, of one benchmark.

    A setting that has a value of its own in every run says nothing that the runs do not.

    Args:
        settings: result of `differing`.
        scores: run -> score.
    """
    found = []
    for setting in next(iter(settings.values())):
        by_value: dict[Any, list[float]] = {}
        for run, score in scores.items():
            by_value.setdefault(settings[run][setting], []).append(score.score)
        if 1 < len(by_value) < len(scores):
            found += [
                Effect(setting, value, len(had), sum(had) / len(had), min(had), max(had))
                for value, had in by_value.items()
            ]
    return found


def ranking(benchmarks: dict[str, dict[str, Score]]) -> list[str]:
    """All runs, best first by the first benchmark; those without it after them, by the next."""
    ranked: list[str] = []
    for by_run in benchmarks.values():
        best_first = sorted(by_run, key=lambda run: -by_run[run].score)
        ranked += [run for run in best_first if run not in ranked]
    return ranked


@dataclass(frozen=True)
class Best:
    """The run with the highest score of a benchmark, and those that may be as good.

    `scores` run -> score, highest first; `peers`: runs that cannot be told from the best one;
    `unknown`: runs whose answers cannot be compared with its, question by question.
    """

    benchmark: str
    run: str
    scores: dict[str, Score]
    peers: list[str]
    unknown: list[str]


def best_run(
    benchmark: str, scores: dict[str, Score], paired: Callable[[str, str], Paired | None]
) -> Best:
    """Which run is best, without calling a winner what chance may have done.

    The leader is tested against every other run on the same questions (exact sign test). Of many
    runs one looks different by chance: the p values are corrected for that (Holm).

    Args:
        benchmark: its name.
        scores: run -> score.
        paired: compares the answers of two runs, the second against the first.
    """
    leader, *others = sorted(scores, key=lambda run: -scores[run].score)
    tests = {run: test for run in others if (test := paired(run, leader)) is not None}
    corrected = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    return Best(
        benchmark=benchmark,
        run=leader,
        scores={run: scores[run] for run in (leader, *others)},
        peers=[run for run, p in corrected.items() if p >= SIGNIFICANT],
        unknown=[run for run in others if run not in tests],
    )
