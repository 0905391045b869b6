"""Reads what the other stages publish, checks its form, and says clearly what is wrong with it.

Every reader takes a path and returns plain Python values. A missing, half-written or odd file
raises `InputError` with one sentence that names the file and what to do.
"""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

# In place of a metric, where a variant cannot be asked a benchmark.
NOT_ASKED = "not_asked"
SCORE_COLUMNS = ("domain", "run", "variant", "benchmark", "metric", "score", "n")


class InputError(Exception):
    """An input of the report is missing or not what its stage promises."""


@dataclass(frozen=True)
class Score:
    """One row of scores.csv; `score` is a fraction 0..1 over `n` questions.

    `independent`: so many questions that have nothing to do with each other are as certain; None:
    all of them.
    """

    run: str
    variant: str
    benchmark: str
    metric: str
    score: float
    n: int
    independent: float | None = None

    @property
    def worth(self) -> float:
        return self.n if self.independent is None else self.independent


@dataclass(frozen=True)
class Cost:
    """What one job cost, from Snakemake's `benchmark:` file.

    `seconds` wall time, `peak_mib` largest resident memory in MiB, `cpu_seconds` processor time;
    the last two are None for jobs that ended before Snakemake's first measurement.
    """

    rule: str
    scope: str
    seconds: float
    peak_mib: float | None
    cpu_seconds: float | None


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    try:
        # lines end at \n only: U+2028 and friends are ordinary characters inside a JSON string
        with path.open(encoding="utf-8", newline="\n") as file:
            yield file
    except FileNotFoundError:
        raise InputError(f"{path} is missing. Run `snakemake` to make it.") from None
    except UnicodeDecodeError as error:
        where = f"{error.reason} at byte {error.start}"
        raise InputError(f"{path} is not UTF-8 text ({where}).") from None


def _text(path: Path) -> str:
    with _opened(path) as file:
        return file.read()


def _require(value: Any, keys: tuple[str, ...], where: str) -> None:
    if not isinstance(value, dict):
        raise InputError(f"{where} should be a JSON object and is {type(value).__name__}.")
    missing = [key for key in keys if key not in value]
    if missing:
        raise InputError(
            f"{where} has no {', '.join(missing)}. Remove it and run `snakemake` again."
        )


def read_json(path: Path, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """A JSON object with at least the keys `required`."""
    text = _text(path)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}, line {error.lineno}: not JSON ({error.msg}). "
            "Remove it and run `snakemake` again."
        ) from None
    _require(value, required, str(path))
    return value


def json_lines(path: Path, required: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """JSON objects, one a line, each with at least the keys `required`; the file is not held."""
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(
                    f"{path}, line {number}: not JSON ({error.msg}). "
                    "Remove the file and run `snakemake` again."
                ) from None
            _require(row, required, f"{path}, line {number}")
            yield row


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file with at least these columns."""
    reader = csv.DictReader(_text(path).splitlines())
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}.")
    return list(reader)


def read_scores(path: Path) -> list[Score]:
    """The rows of a scores.csv, in the file's order."""
    scores: list[Score] = []
    seen: set[tuple[str, str, str, str]] = set()
    for number, row in enumerate(read_table(path, SCORE_COLUMNS), start=2):
        where = f"{path}, line {number}"
        if row["metric"] == NOT_ASKED:
            continue
        try:
            score, n = float(row["score"]), int(row["n"])
            independent = float(row.get("independent") or n)
        except (TypeError, ValueError):
            raise InputError(
                f"{where}: score {row['score']!r} and n {row['n']!r} should be numbers."
            ) from None
        if not 0 <= score <= 1:
            raise InputError(f"{where}: the score {row['score']} is not between 0 and 1.")
        if n < 1:
            raise InputError(f"{where}: n is {n}; a score needs at least one question.")
        key = (row["run"], row["variant"], row["benchmark"], row["metric"])
        if key in seen:
            raise InputError(f"{where}: {' / '.join(key)} is there twice.")
        seen.add(key)
        scores.append(Score(*key, score, n, independent))
    if not scores:
        raise InputError(f"{path} has no rows: nothing was evaluated.")
    return scores


def read_run_scores(run: dict[str, Any]) -> list[Score]:
    """The scores of one run of the inventory."""
    scores = [score for score in read_scores(Path(run["scores"])) if score.run == run["name"]]
    if not scores:
        raise InputError(f"{run['scores']} has no rows of run {run['name']}.")
    return scores


def read_training_log(path: Path) -> dict[str, Any]:
    """{"steps": [{"iteration", "loss", ...}], "summary": {...}}, finite losses, in order."""
    log = read_json(path, ("steps",))
    if not log["steps"]:
        raise InputError(f"{path} has no steps: training logged no loss.")
    for entry in log["steps"]:
        _require(entry, ("iteration", "loss"), f"{path}, a logged iteration")
        if not isinstance(entry["loss"], int | float) or not math.isfinite(entry["loss"]):
            raise InputError(
                f"{path}, iteration {entry['iteration']}: the loss is {entry['loss']}. "
                "Training diverged; lower training.learning_rate."
            )
    log["steps"].sort(key=lambda entry: entry["iteration"])
    return log


def read_predictions(path: Path) -> list[dict[str, Any]]:
    """The answers of one variant: rows of benchmark, id, question, answer, prediction, correct."""
    keys = ("benchmark", "id", "question", "answer", "prediction", "correct")
    rows = list(json_lines(path, keys))
    if not rows:
        raise InputError(f"{path} has no answers. Remove it and run `snakemake` again.")
    return rows


def _number(text: str | None) -> float | None:
    """A cell of a benchmark file; "-" and "NA" mean that nothing was measured."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def read_costs(files: Iterable[dict[str, str]]) -> list[Cost]:
    """What the jobs cost whose benchmark files are {"path", "job", "scope"}.

    A file that does not exist gives none: a result taken from Snakemake's cache was not measured.
    A rule repeated by Snakemake (one line each) counts with its mean. Two rules may share a file:
    the one or the other makes a base model.
    """
    costs = []
    for file in {file["path"]: file for file in files}.values():
        path = Path(file["path"])
        if not path.is_file():
            continue
        lines = list(csv.DictReader(_text(path).splitlines(), delimiter="\t"))
        measured = [line for line in lines if _number(line.get("s")) is not None]
        if not measured:
            raise InputError(f"{path} is not a benchmark file of Snakemake. Remove it.")

        def mean(column: str, rows: list[dict[str, str]] = measured) -> float | None:
            values = [v for row in rows if (v := _number(row.get(column))) is not None]
            return sum(values) / len(values) if values else None

        seconds = mean("s") or 0.0
        costs.append(Cost(file["job"], file["scope"], seconds, mean("max_rss"), mean("cpu_time")))
    return costs
