"""Gates: conditions on the scores, without which a run fails once its report is written.

    tuned - base on general >= -3
    tuned on heldout exact_match >= 40

Standard library only: it is read inside Snakemake and by the scripts of the report.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from benchmark_files import metrics_of, not_asked

FORM = "VARIANT [- VARIANT] on BENCHMARK [METRIC] >= POINTS (or <=)"
_FORM = re.compile(
    r"\s*(?P<variant>\w+)(?:\s+-\s+(?P<other>\w+))?\s+on\s+(?P<benchmark>[\w.-]+)"
    r"(?:\s+(?P<metric>[a-z_]+))?\s+(?P<sign>>=|<=)\s+(?P<points>-?\d+(?:\.\d+)?)\s*"
)


class GateMistake(Exception):
    """A gate cannot be read; the text says what is wrong with it."""


@dataclass(frozen=True)
class Gate:
    """A condition on the scores of a run.

    Attributes:
        text: as it was written.
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


def parse(text: str) -> Gate:
    """Read a gate.

    Raises:
        GateMistake: it has not the form, or a share where per cent are meant.
    """
    found = _FORM.fullmatch(text)
    if not found:
        raise GateMistake(
            f"{text!r} does not read {FORM}, such as 'tuned - base on heldout >= -3'."
        )
    parts = found.groupdict()
    points = float(parts.pop("points"))
    if not parts["other"] and 0 < points < 1:
        raise GateMistake(
            f"{text!r}: scores are in per cent; write {100 * points:g} for {points:g}."
        )
    return Gate(text=text.strip(), points=points, **parts)


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
            gate = parse(text)
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
