"""Gates: conditions on the scores, without which a run fails once its report is written.

    tuned - base on general >= -3
    tuned on heldout exact_match >= 40
    awq - tuned >= -2
    heldout em >= 40

Standard library only: it is read inside Snakemake and by the scripts of the report.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from benchmark_files import metrics_of, not_asked

FORM = "VARIANT [- VARIANT] on BENCHMARK [METRIC] >= POINTS (or <=)"
_VARIANTS = r"(?P<variant>\w+)(?:\s+-\s+(?P<other>\w+))?"
_SCORE = r"(?P<benchmark>[\w.-]+)(?:\s+(?P<metric>(?!on\b)[a-z_]+))?"
_FORMS = [
    re.compile(rf"{start}\s+(?P<sign>>=|<=)\s+(?P<points>-?\d+(?:\.\d+)?)")
    for start in (rf"{_VARIANTS}\s+on\s+{_SCORE}", _SCORE, _VARIANTS)
]
_METRICS = {"em": "exact_match"}


class GateMistake(Exception):
    """A gate cannot be read; the text says what is wrong with it."""


@dataclass(frozen=True)
class Gate:
    """A condition on the scores of a run.

    Attributes:
        text: as it was written, but for what it leaves out.
        variant: whose score it is about.
        other: the variant whose score is taken off; None: none.
        benchmark: on which questions.
        metric: of which metric; None: the one that stands for the benchmark.
        sign: ">=" or "<=".
        points: the limit, in per cent, or points of per cent where scores are compared.
    """

    text: str
    variant: str
    other: str | None
    benchmark: str
    metric: str | None
    sign: str
    points: float

    @property
    def variants(self) -> list[str]:
        """The variants that a run must have for the gate to be about it."""
        return [self.variant, self.other] if self.other else [self.variant]

    def holds(self, points: float) -> bool:
        """Whether a score or a difference, in points, keeps to it."""
        # 0.97 - 1 is a little less than -0.03
        slack = 1e-6
        if self.sign == ">=":
            return points >= self.points - slack
        return points <= self.points + slack


def parse(text: str, first: str) -> Gate:
    """Read a gate.

    Args:
        text: the gate; without variants, it is about the tuned model.
        first: the benchmark that it is about where it names none.

    Raises:
        GateMistake: it has not the form, no score can be its limit, or that is a share where per
            cent are meant.
    """
    text = text.strip()
    found = next(filter(None, (form.fullmatch(text) for form in _FORMS)), None)
    if not found:
        raise GateMistake(
            f"{text!r} does not read {FORM}, such as 'tuned - base on heldout >= -3'."
        )
    parts = {"variant": None, "other": None, "benchmark": None, "metric": None, **found.groupdict()}
    limit = parts.pop("points")
    points = float(limit)
    if not parts["other"] and 0 < points < 1:
        raise GateMistake(
            f"{text!r}: scores are in per cent; write {100 * points:g} for {points:g}."
        )
    lowest = -100 if parts["other"] else 0
    if not lowest <= points <= 100:
        raise GateMistake(f"{text!r}: it is never more than 100, and never less than {lowest}.")
    if not (parts["variant"] and parts["benchmark"]):
        parts["variant"] = parts["variant"] or "tuned"
        parts["benchmark"] = parts["benchmark"] or first
        names = " - ".join(filter(None, (parts["variant"], parts["other"])))
        score = " ".join(filter(None, (parts["benchmark"], parts["metric"])))
        text = f"{names} on {score} {parts['sign']} {limit}"
    parts["metric"] = _METRICS.get(parts["metric"], parts["metric"])
    return Gate(text=text, points=points, **parts)


def mistakes_of(evaluation: Mapping, variants: Mapping[str, list[str]]) -> Iterator[str]:
    """One line per mistake in `evaluation.gates`.

    Args:
        evaluation: the part of the configuration.
        variants: by run, the variants that are evaluated.
    """
    known = list(dict.fromkeys(name for names in variants.values() for name in names))
    for index, text in enumerate(evaluation["gates"]):
        where = f"evaluation.gates.{index}"
        try:
            gate = parse(text, evaluation["benchmarks"][0])
        except GateMistake as mistake:
            yield f"{where}: {mistake}"
            continue
        unknown = [name for name in gate.variants if name not in known]
        if unknown:
            yield f"{where}: {_unknown('variant', unknown[0], known)}"
        elif not any(set(gate.variants) <= set(names) for names in variants.values()):
            yield f"{where}: no run has both {gate.variant} and {gate.other}."
        if gate.benchmark not in evaluation["benchmarks"]:
            yield f"{where}: {_unknown('benchmark', gate.benchmark, evaluation['benchmarks'])}"
            continue
        for variant in gate.variants:
            if mode := not_asked(variant, evaluation).get(gate.benchmark):
                yield f"{where}: {variant} is not asked {gate.benchmark}, whose mode is {mode}."
        if gate.metric:
            metrics = metrics_of(gate.benchmark, evaluation)
            if gate.metric not in metrics:
                yield f"{where}: {_unknown(f'metric of {gate.benchmark}', gate.metric, metrics)}"


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{name!r} is no {what} of this configuration ({', '.join(known)}).{hint}"
