"""Reading what OpenCompass wrote, and believing it only where everything adds up."""

import json
import math
from pathlib import Path
from typing import Any

from question_files import Benchmark


class ResultError(ValueError):
    """OpenCompass' files are incomplete or disagree with the questions."""


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultError(f"OpenCompass wrote no {path.parent.parent.name}/{path.name}") from None
    except json.JSONDecodeError as error:
        raise ResultError(f"{path.name} of OpenCompass is cut short or broken ({error})") from None


def _check_prompts(benchmark: Benchmark, predictions: dict[str, Any], system: str) -> None:
    """Every question has been asked once, at its place, in its own words and form."""
    wanted = len(benchmark.questions)
    if sorted(predictions) != sorted(map(str, range(wanted))):
        raise ResultError(
            f"{benchmark.name}: {wanted} questions, but {len(predictions)} predictions"
        )
    for i, question in enumerate(benchmark.questions):
        prediction = predictions[str(i)]
        asked = prediction["origin_prompt"]
        if benchmark.plain:
            expected, _ = benchmark.plain_text(question)
        else:
            turns = [(turn["role"], turn["prompt"]) for turn in asked]
            asked = [turn for turn in turns if turn != ("SYSTEM", "")]
            own = question.get("system", system)
            expected = [*([("SYSTEM", own)] if own else []), *benchmark.turns(question)]
        if asked != expected:
            raise ResultError(
                f"{benchmark.name}, question '{question['id']}': the model was asked {asked} "
                f"instead of {expected}"
            )
        if prediction["gold"] != question["answer"]:
            raise ResultError(
                f"{benchmark.name}, question '{question['id']}': compared with "
                f"'{prediction['gold']}' instead of '{question['answer']}'"
            )


def read_results(
    folder: Path, variant: str, benchmark: Benchmark, system: str = ""
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Scores and answers of one benchmark from OpenCompass' run folder.

    Returns:
        ({"n": questions, "metrics": {name: fraction 0..1}, "seconds": inference}, and per question
        {"benchmark", "id", "question", "answer", "prediction", "correct", ...}), in file order.

    Raises:
        ResultError: a file is missing, a question has no prediction or another one's, or
            OpenCompass' score is not the mean of the scores of its questions.
    """
    name = benchmark.name
    predictions = _load(folder / "predictions" / variant / f"{name}.json")
    _check_prompts(benchmark, predictions, system)
    result = _load(folder / "results" / variant / f"{name}.json")
    if "error" in result:
        raise ResultError(f"{name}: OpenCompass' evaluator says: {result['error']}")
    # OpenCompass wraps each value in a list: one entry per repetition, and there is one
    details = [
        {key: value[0] for key, value in detail.items() if isinstance(value, list)}
        for detail in result.pop("details", [])
    ]
    ids = [question["id"] for question in benchmark.questions]
    if [detail["id"] for detail in details] != ids:
        raise ResultError(f"{name}: the scored questions are not the {len(ids)} that were asked")

    metrics = {}
    for metric, percentage in result.items():
        mean = sum(detail[metric] for detail in details) / len(details)
        if not math.isclose(100 * mean, percentage, abs_tol=1e-6):
            raise ResultError(
                f"{name}: OpenCompass reports {metric} {percentage}, its questions say {100 * mean}"
            )
        metrics[metric] = mean

    rows = []
    for question, detail in zip(benchmark.questions, details, strict=True):
        detail = {key: value for key, value in detail.items() if key not in ("pred", "answer")}
        row = {
            "benchmark": name,
            **({"subject": question["subject"]} if "subject" in question else {}),
            "id": detail.pop("id"),
            "question": question["question"],
            "answer": question["answer"],
            "prediction": predictions[str(len(rows))]["prediction"],
            "correct": detail.pop("correct"),
        }
        if benchmark.kind == "mcq":
            row["options"] = {option: question[option] for option in benchmark.options}
        rows.append({**row, **detail})
    score = {"n": len(rows), "metrics": metrics, "seconds": _seconds(folder, variant, name)}
    return score, rows


def _seconds(folder: Path, variant: str, name: str) -> float:
    """Seconds of inference, as OpenCompass' inferencers timed themselves."""
    timer = folder / "predictions" / variant / "timer" / "time.jsonl"
    for line in timer.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["dataset_name"] == name:
            return round(record["time"], 3)
    raise ResultError(f"{name}: OpenCompass did not time this benchmark")
