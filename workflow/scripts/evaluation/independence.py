"""How many independent questions the questions of a benchmark are worth.

A corpus asks each of its facts in several ways, and a model that knows it knows it in most of them.
Intervals and tests that took these for so many experiments would promise far too much. The unit of
the corpus is the answer: all questions with one answer fall on one side of its split.

Standard library only: scripts of several environments import it.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

# Made of the corpus. Of other benchmarks, each question is one of its own.
OF_THE_CORPUS = ("heldout", "recall", "heldout_mcq")
# What group_of reads.
GROUPED_BY = ("benchmark", "id", "answer", "options")


def group_of(row: Mapping[str, Any]) -> Hashable:
    """What a question of a predictions.jsonl shares with those that ask for the same fact."""
    if row["benchmark"] not in OF_THE_CORPUS:
        return "id", row["id"]
    return "answer", row["options"][row["answer"]] if "options" in row else row["answer"]


def sums(values: Iterable[float], groups: Iterable[Hashable]) -> dict[Hashable, float]:
    """The sum of the values of each group."""
    found: dict[Hashable, float] = defaultdict(float)
    for value, group in zip(values, groups, strict=True):
        found[group] += value
    return found


def independent(values: Sequence[float], groups: Sequence[Hashable]) -> float:
    """So many values without groups would have a mean as uncertain as that of these.

    At least as many as there are groups, and no more than there are values. Where all values are
    the same, nothing tells how alike those of a group are: there the groups count.
    """
    mean = math.fsum(values) / len(values)
    deviations = [value - mean for value in values]
    of_groups = sums(deviations, groups)
    alone = math.fsum(deviation**2 for deviation in deviations)
    together = math.fsum(total**2 for total in of_groups.values())
    if alone <= 1e-12 * len(values):
        return len(of_groups)
    return min(max(len(of_groups), len(values) * alone / max(together, alone)), len(values))
