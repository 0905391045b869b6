"""What the page tells of each run: its names, scores, tests, answers, stages and checks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import report_charts as charts
import report_inputs as inputs
import report_numbers as numbers
from report_comparison import flat
from report_gates import Gate, state_of
from report_inputs import InputError, Score
from report_intervals import intervals_of

NAMES = {
    "base": "Base",
    "tuned": "Tuned",
    "awq": "AWQ 4-bit",
    "int4": "int4 kernel",
    "turbomind": "TurboMind 4-bit",
    "served": "Served 4-bit",
}
STAGE_NAMES = {
    "pt": "Pre-training",
    "sft": "SFT",
    "dpo": "DPO",
    "orpo": "ORPO",
    "reward": "Reward model",
    "grpo": "GRPO",
}
# Every variant there can be, in the order in which a run makes them.
ALL_NAMES = {"base": "Base", **STAGE_NAMES, **NAMES}


def choose_samples(
    answers: dict[str, list[dict[str, Any]]], benchmark: str, limit: int
) -> dict[str, Any]:
    """Questions of one benchmark with the answers of all variants beside each other.

    Most places go to telling questions, if there are so many: where the variants after tuning do
    not all answer right. They come first, the more of these are wrong the earlier; the others are
    spread evenly.

    Returns:
        {"rows": [{"question", "subject", "options", "answer", "cells": {variant: {"prediction",
        "correct", "choice"?}}, "differ", "wrong"}], "total": number of questions, "telling": how
        many are telling}; `wrong` counts variants after tuning
    """
    questions: dict[str, dict[str, Any]] = {}
    for variant, rows in answers.items():
        for row in rows:
            if row["benchmark"] != benchmark:
                continue
            entry = questions.setdefault(
                str(row["id"]),
                {
                    "place": len(questions),
                    "question": row["question"],
                    "subject": row.get("subject", ""),
                    "options": row.get("options") or {},
                    "answer": row["answer"],
                    "cells": {},
                },
            )
            entry["cells"][variant] = {
                "prediction": row["prediction"],
                "correct": bool(row["correct"]),
                **({"choice": row["choice"]} if "choice" in row else {}),
            }
    entries = list(questions.values())
    for entry in entries:
        # what a stage on the way got wrong tells nothing of the model that came of it
        last = ("tuned", *numbers.QUANTISED)
        after = [cell for variant, cell in entry["cells"].items() if variant in last]
        cells = after or list(entry["cells"].values())
        entry["differ"] = len({cell["correct"] for cell in cells}) > 1
        entry["wrong"] = sum(not cell["correct"] for cell in cells)
    telling = [entry for entry in entries if entry["wrong"]]
    plain = [entry for entry in entries if not entry["wrong"]]
    first = numbers.spread(telling, max(limit - limit // 5, limit - len(plain)))
    chosen = sorted(
        first + numbers.spread(plain, limit - len(first)),
        key=lambda entry: (-entry["wrong"], entry["place"]),
    )
    return {"rows": chosen, "total": len(entries), "telling": len(telling)}


def names_of(run: dict[str, Any]) -> dict[str, str]:
    """Variant -> what the page calls it in this run."""
    methods = changing_methods(run)
    names = {variant: ALL_NAMES[variant] for variant in run["variants"]}
    if "tuned" in names and methods != ["sft"]:
        names["tuned"] = f"Tuned ({STAGE_NAMES[methods[-1]]})"
    return names


def changing_methods(run: dict[str, Any]) -> list[str]:
    """The stages that change the model: a reward model is one of its own."""
    return [stage["method"] for stage in run["stages"] if stage["method"] != numbers.REWARD]


def subjects_of(run: dict[str, Any]) -> dict[str, str]:
    """Variant -> the stages between it and the one it is compared with, as a sentence's subject."""
    methods = changing_methods(run)
    made_by = {"base": -1, "tuned": len(methods) - 1}
    made_by |= {method: place for place, method in enumerate(methods[:-1])}
    subjects = {}
    for variant, other in numbers.compared_with(run["variants"]).items():
        if variant not in numbers.QUANTISED:
            stages = methods[made_by[other] + 1 : made_by[variant] + 1]
            subjects[variant] = " and ".join(STAGE_NAMES[method] for method in stages)
            if methods == ["sft"]:
                subjects[variant] = "Tuning"
    return subjects


def read_run(
    run: dict[str, Any], benchmarks: list[str], samples: int, gates: Sequence[Gate]
) -> dict[str, Any]:
    """Everything the page shows of one run, from the files that the inventory names."""
    scores = inputs.read_run_scores(run)
    answers = {
        variant: inputs.read_predictions(Path(path)) for variant, path in run["predictions"].items()
    }

    keys = {
        row.benchmark: numbers.counted(row.metric)
        for row in numbers.score_table(scores)
        if row.leading
    }

    def changes(benchmark: str, before: str, after: str) -> numbers.Paired | None:
        return numbers.paired(
            *(
                [row for row in answers[variant] if row["benchmark"] == benchmark]
                for variant in (before, after)
            ),
            key=keys.get(benchmark, "correct"),
        )

    compared = numbers.compared_with(run["variants"])
    final = numbers.final_variant(run["variants"])
    chosen = {b: choose_samples(answers, b, samples) for b in benchmarks}
    verification = {
        **{
            (stage["method"], check): inputs.read_json(Path(path), ("passed",))
            for stage in run["stages"]
            for check, path in stage["verification"].items()
        },
        **{
            (None, check): inputs.read_json(Path(path), ("passed",))
            for check, path in run["verification"].items()
        },
    }
    return {
        "name": run["name"],
        "base_model": run["base_model"],
        "start_from": run["start_from"],
        "variants": run["variants"],
        "names": names_of(run),
        "compared_with": compared,
        "manifest": inputs.read_json(Path(run["manifest"])),
        "backend": inputs.read_json(Path(run["metrics"]), ("backend",))["backend"],
        "scores": scores,
        "reward": next((score for score in scores if score.variant == numbers.REWARD), None),
        "intervals": intervals_of(scores, answers, compared),
        "gates": [state_of(gate, run["name"], scores, answers) for gate in gates],
        "unread": unread(scores),
        "subjects": {b: subjects(answers, b) for b in benchmarks},
        "answers": chosen,
        "wrong_first": sorted(
            ((name, row) for name, sample in chosen.items() for row in sample["rows"]),
            key=lambda found: -found[1]["wrong"],
        ),
        # kept of all answers, to compare the runs with each other
        "final": {
            b: [numbers.compared(row, key) for row in answers[final] if row["benchmark"] == b]
            for b, key in keys.items()
        },
        "tests": {
            b: {variant: changes(b, other, variant) for variant, other in compared.items()}
            for b in benchmarks
        },
        "overall": {b: changes(b, run["variants"][0], final) for b in benchmarks},
        "stages": read_stages(run),
        "verification": verification,
        "errors": quantisation_errors(
            verification.get((None, "awq")), run["verification"].get("awq")
        ),
    }


def subjects(
    answers: dict[str, list[dict[str, Any]]], benchmark: str
) -> dict[str, dict[str, tuple[int, int]]]:
    """Subject -> variant -> right answers, and all of them; none where there are no subjects."""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for variant, rows in answers.items():
        for row in rows:
            if row["benchmark"] == benchmark and "subject" in row:
                by_variant = found.setdefault(row["subject"], {})
                right, all_of_them = by_variant.get(variant, (0, 0))
                by_variant[variant] = right + bool(row["correct"]), all_of_them + 1
    return found


def unread(scores: Sequence[Score]) -> dict[str, dict[str, tuple[int, int]]]:
    """Benchmark -> variant -> answers that chose no option, and all of them."""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for score in scores:
        if score.metric == "no_choice":
            count = round(score.score * score.n)
            found.setdefault(score.benchmark, {})[score.variant] = count, score.n
    return found


def read_stages(run: dict[str, Any]) -> list[dict[str, Any]]:
    """What the page shows of the training of each stage of one run."""
    stages = []
    starts_from = run["start_from"] or run["base_model"]
    for stage in run["stages"]:
        log = inputs.read_training_log(Path(stage["training_log"]))
        signals = [key for key in charts.curves_of([log]) if key != "loss"]
        stages.append(
            {
                "method": stage["method"],
                "starts_from": starts_from,
                "training": flat(stage["training"]),
                "finetuning": stage["training"].get("finetuning"),
                "log": log,
                "seconds": log.get("summary", {}).get("seconds", 0),
                # the last value of what a stage logs beside its loss
                "last": {
                    key: entry[key]
                    for entry in log["steps"]
                    for key in signals
                    if entry.get(key) is not None
                },
            }
        )
        if stage["method"] != numbers.REWARD:
            starts_from = stage["method"]
    return stages


# How verify_awq.py names the largest and mean error of a matrix, and what it allows, in steps.
ERROR_KEY = "max_error_steps"
MEAN_KEY = "mean_error_steps"
ALLOWED_KEY = "max_allowed_steps"


def quantisation_errors(
    verification: dict[str, Any] | None, path: str | None
) -> dict[str, Any] | None:
    """The error of every quantised matrix, worst first: {"rows", "allowed", ...}."""
    if verification is None:
        return None
    tensors = verification.get("tensors") or []
    if not tensors or any(ERROR_KEY not in tensor for tensor in tensors):
        raise InputError(f"{path}: its tensors have no {ERROR_KEY}. Verify the quantisation again.")
    points = [(str(t["name"]), float(t[ERROR_KEY]), t.get(MEAN_KEY)) for t in tensors]
    worst = sorted(tensors, key=lambda tensor: -tensor[ERROR_KEY])
    columns = [
        key for key in tensors[0] if key != "name" and isinstance(tensors[0][key], int | float)
    ]
    return {
        "points": points,
        "rows": worst,
        "columns": columns,
        "allowed": max((float(t[ALLOWED_KEY]) for t in tensors if ALLOWED_KEY in t), default=None),
    }


def layouts(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs whose scores fit into one table, because their variants are made by the same stages."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in runs:
        found.setdefault(tuple(run["names"].items()), []).append(run)
    return [
        {
            "runs": alike,
            "variants": alike[0]["variants"],
            "names": alike[0]["names"],
            "compared_with": alike[0]["compared_with"],
        }
        for alike in found.values()
    ]
