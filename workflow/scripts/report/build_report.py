"""Builds report.html: one self-contained page that tells what a domain's runs achieved.

The page loads nothing from anywhere: styles, script and charts are inside. What came from the
corpus or from a model is untrusted text; the template escapes all of it, and the page's own
security policy forbids any script but ours.
"""

import argparse
import base64
import csv
import datetime
import hashlib
import json
import os
import platform
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import report_charts as charts
import report_inputs as inputs
import report_numbers as numbers
from markupsafe import Markup
from report_inputs import InputError

PAGE = Path(__file__).parent / "page"
NAMES = {"base": "Base", "tuned": "Tuned", "awq": "AWQ 4-bit", "turbomind": "TurboMind 4-bit"}
VARIANT_NOTES = {
    "base": "The model before tuning.",
    "tuned": "The adapter merged into the base model, in full precision.",
    "awq": "The 4-bit AWQ weights, dequantised and run as an ordinary model: this tests the "
    "weights, not a 4-bit kernel.",
    "turbomind": "The weights read back from the TurboMind workspace and run as an ordinary "
    "model: this tests the artefact that the engine loads, not the engine.",
}
BENCHMARK_NOTES = {
    "heldout": "questions about facts that tuning never saw",
    "recall": "a sample of the questions it was tuned on",
    "heldout_mcq": "the held-out questions with four options; guessing gives 25%",
}
CHECK_NAMES = {
    "chat_template": "The prompt of training and the tokenizer's chat template give the same bytes",
    "awq": "Dequantised AWQ weights against the merged weights",
    "turbomind": "TurboMind workspace, read back, against the AWQ tensors",
}
# Shown first in the table of versions; the rest is folded below.
TOOLS = (
    "xtuner",
    "mmengine",
    "lmdeploy",
    "opencompass",
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "accelerate",
    "datasets",
    "tokenizers",
    "safetensors",
    "numpy",
    "pandas",
    "pyarrow",
    "lxml",
    "python-calamine",
    "jieba",
    "matplotlib",
)


def text(value: Any) -> str:
    """Any JSON value as a person would read it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if value.is_integer() or abs(value) >= 1000:
            return f"{value:,.0f}"
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if value is None:
        return "–"
    return json.dumps(value, ensure_ascii=False)


def words(name: str) -> str:
    """exact_match -> exact match."""
    return name.replace("_", " ")


def language(value: str) -> str | None:
    """BCP 47 tag of text in a script that needs its own glyphs; None for the page's language."""
    if re.search(r"[\u3040-\u30ff]", value):
        return "ja"
    if re.search(r"[\uac00-\ud7af]", value):
        return "ko"
    return "zh" if re.search(r"[\u3400-\u9fff]", value) else None


def said(value: Any, limit: int | None = None) -> Markup:
    """Untrusted text as an escaped element with its language, cut after `limit` characters."""
    content = text(value)
    if not content:
        return Markup('<span class="muted">(empty)</span>')
    shown = content if limit is None or len(content) <= limit else content[:limit].rstrip() + "…"
    tag = language(content)
    attribute = Markup(' lang="{}"').format(tag) if tag else ""
    return Markup('<span class="said"{}>{}</span>').format(attribute, shown)


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as dotted keys, in their order."""
    result: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict):
            result |= flat(item, f"{prefix}{key}.")
        else:
            result[prefix + key] = item
    return result


def choose_samples(
    answers: dict[str, list[dict[str, Any]]], benchmark: str, limit: int
) -> dict[str, Any]:
    """Questions of one benchmark with the answers of all variants beside each other.

    Half of the places go to telling questions, if there are so many: where the variants after
    tuning do not all answer right. The others are spread evenly; all keep the file's order.

    Returns:
        {"rows": [{"question", "options", "answer", "cells": {variant: {"prediction", "correct"}},
        "differ", "telling"}], "total": number of questions, "telling": how many are telling}
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
                    "options": row.get("options") or {},
                    "answer": row["answer"],
                    "cells": {},
                },
            )
            entry["cells"][variant] = {
                "prediction": row["prediction"],
                "correct": bool(row["correct"]),
            }
    entries = list(questions.values())
    for entry in entries:
        after = [cell for variant, cell in entry["cells"].items() if variant != "base"]
        cells = after or list(entry["cells"].values())
        entry["differ"] = len({cell["correct"] for cell in cells}) > 1
        entry["telling"] = not all(cell["correct"] for cell in cells)
    telling = [entry for entry in entries if entry["telling"]]
    plain = [entry for entry in entries if not entry["telling"]]
    first = spread(telling, max(limit // 2, limit - len(plain)))
    chosen = sorted(first + spread(plain, limit - len(first)), key=lambda entry: entry["place"])
    return {"rows": chosen, "total": len(entries), "telling": len(telling)}


def spread(rows: Sequence[Any], count: int) -> list[Any]:
    """`count` of `rows`, evenly spaced and in order; all of them if there are fewer."""
    if len(rows) <= count:
        return list(rows)
    return [rows[index * len(rows) // count] for index in range(count)]


def read_run(run: dict[str, Any], benchmarks: list[str], samples: int) -> dict[str, Any]:
    """Everything the page shows of one run, from the files that the inventory names."""
    name = run["name"]
    scores = [score for score in inputs.read_scores(Path(run["scores"])) if score.run == name]
    if not scores:
        raise InputError(f"{run['scores']} has no rows of run {name}.")
    answers = {
        variant: inputs.read_predictions(Path(path)) for variant, path in run["predictions"].items()
    }
    tests = {
        benchmark: {
            variant: numbers.paired(
                [row for row in answers[other] if row["benchmark"] == benchmark],
                [row for row in answers[variant] if row["benchmark"] == benchmark],
            )
            for variant, other in numbers.COMPARED_WITH.items()
            if variant in answers and other in answers
        }
        for benchmark in benchmarks
    }
    verification = {
        name: inputs.read_json(Path(path), ("passed",))
        for name, path in run["verification"].items()
    }
    return {
        "name": name,
        "base_model": run["base_model"],
        "manifest": inputs.read_json(Path(run["manifest"])),
        "backend": inputs.read_json(Path(run["metrics"]), ("backend",))["backend"],
        "scores": scores,
        "answers": {b: choose_samples(answers, b, samples) for b in benchmarks},
        "tests": tests,
        "log": inputs.read_training_log(Path(run["training_log"])),
        "verification": verification,
        "errors": quantisation_errors(verification.get("awq"), run["verification"].get("awq")),
    }


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


def read_ledger(ledger_path: Path, rejected_path: Path, per_reason: int) -> dict[str, Any]:
    """The ledger, its reasons by weight, and a few rejected rows of each reason."""
    ledger = inputs.read_json(ledger_path, ("sources", "total", "review"))
    counts: Counter[str] = Counter()
    by_source: dict[str, dict[str, int]] = {}
    for source in ledger["sources"]:
        for reason, count in source.get("rejected", {}).items():
            counts[reason] += count
            by_source.setdefault(reason, {})[source["source"]] = count
    samples = {reason: spread(range(count), per_reason) for reason, count in counts.items()}
    shown: dict[str, list[dict[str, Any]]] = {reason: [] for reason in counts}
    found: Counter[str] = Counter()
    for row in inputs.json_lines(rejected_path, ("source", "locator", "reason", "original")):
        reason = row["reason"]
        if found[reason] in samples.get(reason, ()):
            shown[reason].append(row)
        found[reason] += 1
    if found != Counter({reason: count for reason, count in counts.items() if count}):
        raise InputError(
            f"{rejected_path} and {ledger_path} disagree about the rejected rows "
            f"({found.total()} and {counts.total()}). Run the corpus stage again."
        )
    return {
        "sources": [
            source
            | {
                "rejected_rows": sum(source.get("rejected", {}).values()),
                "said": {
                    "blank rows": source["blank"],
                    "repaired rows": source["repaired"],
                    **source["facts"],
                },
            }
            for source in ledger["sources"]
        ],
        "rows": sum(source["rows"] for source in ledger["sources"]),
        "kept": sum(source["kept"] for source in ledger["sources"]),
        "rejected": found.total(),
        "review": ledger["review"],
        "split": flat(ledger.get("split", {})),
        "checked": ledger.get("checked", {}),
        "reasons": [
            {
                "reason": reason,
                "count": count,
                "by_source": by_source[reason],
                "samples": shown[reason],
            }
            for reason, count in counts.most_common()
            if count
        ],
    }


def write_ledger_table(ledger: dict[str, Any], path: Path) -> None:
    """The ledger as CSV: source, rows, kept, rejected, and a column for each reason."""
    reasons = [entry["reason"] for entry in ledger["reasons"]]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["source", "rows", "kept", "rejected", *reasons])
        for source in ledger["sources"]:
            counts = [source["rejected"].get(reason, 0) for reason in reasons]
            total = [source["rows"], source["kept"], source["rejected_rows"]]
            writer.writerow([source["source"], *total, *counts])


def read_versions(paths: dict[str, str], runner: dict[str, str]) -> dict[str, Any]:
    """Packages (rows) by environment (columns), the tools of `TOOLS` first."""
    found = {
        env: inputs.read_json(Path(path), ("python", "packages")) for env, path in paths.items()
    }
    # environments write one package in different ways (PyYAML, pyyaml; python_calamine)
    table: dict[str, dict[str, str]] = {}
    spelling: dict[str, str] = {}
    for env, versions in found.items():
        for name, version in versions["packages"].items():
            key = re.sub(r"[-_.]+", "-", name).lower()
            spelling.setdefault(key, name)
            table.setdefault(key, {})[env] = version
    rows = [(spelling[key], table[key]) for key in sorted(table)]
    tools = [(spelling[key], table[key]) for key in TOOLS if key in table]
    return {
        "environments": list(found),
        "python": {env: versions["python"] for env, versions in found.items()},
        "tools": tools,
        "packages": rows,
        "runner": runner,
    }


def this_machine() -> dict[str, str]:
    """What made the report: processor, cores, memory, system."""
    machine = {"system": platform.platform(terse=True), "cores": str(os.cpu_count())}
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        if found := re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE):
            machine = {"processor": found[1]} | machine
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        machine["memory"] = numbers.memory(pages * size / 2**20)
    except (OSError, ValueError):
        pass  # not Linux: the rest is enough
    return machine


def build(options: argparse.Namespace) -> str:
    """The page as text; writes the charts and the ledger's table on the way."""
    inventory = json.loads(options.inventory)
    context = json.loads(options.context)
    config = json.loads(options.config)
    benchmarks = config["evaluation"]["benchmarks"]
    runs = [read_run(run, benchmarks, options.samples) for run in inventory["runs"]]
    scores = [score for run in runs for score in run["scores"]]
    variants = numbers.variants_of(scores)
    table = numbers.score_table(scores)
    verdicts = [
        numbers.verdict(
            run["name"], table, run["tests"][benchmarks[0]], benchmarks[0], NAMES, options.tolerance
        )
        for run in runs
    ]
    costs = sorted(
        (
            cost
            for entry in inventory["benchmarks"]
            for cost in inputs.read_costs(Path(entry["path"]), entry["scope"])
            if cost.rule != "report"  # what an earlier page cost says nothing about this one
        ),
        key=lambda cost: -cost.seconds,
    )
    ledger = read_ledger(Path(inventory["ledger"]), Path(inventory["rejected"]), 5)
    figures = draw(runs, table, variants)
    for name, path in (("scores", options.scores_chart), ("loss", options.loss_chart)):
        path.write_text(charts.standalone(figures["files"][name]), encoding="utf-8")
    write_ledger_table(ledger, options.ledger_table)
    script = (PAGE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return environment().get_template("report.html.j2").render(
        domain=inventory["domain"],
        config=config,
        settings=flat(config),
        accelerator=config.get("accelerator"),
        runs=runs,
        table=table,
        variants=variants,
        names=NAMES,
        variant_notes=VARIANT_NOTES,
        benchmark_notes=BENCHMARK_NOTES,
        benchmarks=benchmarks,
        check_names=CHECK_NAMES,
        error_key=ERROR_KEY,
        compared_with=numbers.COMPARED_WITH,
        verdicts=verdicts,
        tolerance=options.tolerance,
        ledger=ledger,
        costs=costs,
        versions=read_versions(inventory["versions"], context["runner"]),
        machine=this_machine(),
        commands=context["commands"],
        figures=figures["inline"],
        made=datetime.datetime.now(datetime.UTC),
        style=Markup((PAGE / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=digest,
    )  # fmt: skip


def draw(
    runs: list[dict[str, Any]], table: list[numbers.ScoreRow], variants: list[str]
) -> dict[str, Any]:
    """All charts: {"files": {name: svg}, "inline": {name: element}}."""
    files = {
        "scores": charts.scores(table, variants, NAMES),
        "loss": charts.loss({run["name"]: run["log"] for run in runs}),
    }
    labels = {
        "scores": "Bar chart of the scores of every variant; the table below has the numbers.",
        "loss": "Line chart of the training loss by iteration; the table below has its ends.",
    }
    elements = {name: Markup(charts.inline(svg, name, labels[name])) for name, svg in files.items()}
    for index, run in enumerate(runs):
        if run["errors"]:
            svg = charts.quantisation_error(run["errors"]["points"], run["errors"]["allowed"])
            label = f"Largest quantisation error of each matrix of {run['name']}."
            elements[f"error-{run['name']}"] = Markup(charts.inline(svg, f"error{index}", label))
    return {"files": files, "inline": elements}


def environment() -> jinja2.Environment:
    """The template engine: everything is escaped, and an unknown name is an error."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {
        "text": text,
        "words": words,
        "flat": flat,
        "said": said,
        "percent": numbers.percent,
        "points": numbers.points,
        "duration": numbers.duration,
        "memory": numbers.memory,
    }
    return env


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inventory", required=True, help="JSON: the files to read, see the rule")
    parser.add_argument(
        "--context", required=True, help="JSON: versions and commands of the runner"
    )
    parser.add_argument("--config", required=True, help="JSON: the configuration of the runs")
    parser.add_argument("--samples", type=int, required=True, help="questions shown per benchmark")
    parser.add_argument(
        "--tolerance", type=float, required=True, help="what 4-bit may lose and still be kept"
    )
    parser.add_argument("--output", type=Path, required=True, help="the HTML file to write")
    parser.add_argument("--scores-chart", type=Path, required=True, help="SVG file to write")
    parser.add_argument("--loss-chart", type=Path, required=True, help="SVG file to write")
    parser.add_argument("--ledger-table", type=Path, required=True, help="CSV file to write")
    options = parser.parse_args(argv)
    try:
        page = build(options)
    except InputError as error:
        sys.exit(f"report: {error}")
    options.output.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
