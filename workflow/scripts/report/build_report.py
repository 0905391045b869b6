"""Builds report.html: one self-contained page that tells what a domain's runs achieved.

The page loads nothing from anywhere: styles, script and charts are inside. What came from the
corpus or from a model is untrusted text; the template escapes all of it, and the page's own
security policy forbids any script but ours.

What to read is in the inventory, a JSON file (a shell command ends at 128 KiB, which the paths of a
hundred runs fill). The layout of results/ is known to the rules alone:

    {"domain", "ledger": path, "rejected": path, "versions": {environment: path},
     "runs": [{
        "name", "base_model", "start_from": "RUN/STAGE" or null,
        "manifest": path of the base model's, "scores": path,
        "metrics": path of one variant's metrics.json,
        "variants": [those evaluated, in the order in which they are made],
        "predictions": {variant: path},
        "stages": [{"method", "training": {setting: value}, "training_log": path,
                    "verification": {check: path}}],
        "verification": {check: path}}],
     "costs": [{"path": Snakemake's benchmark file, "job", "scope"}]}
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
from report_comparison import (
    Best,
    best_run,
    differing,
    final_scores,
    flat,
    ranking,
)
from report_inputs import InputError, Score

PAGE = Path(__file__).parent / "page"
NAMES = {"base": "Base", "tuned": "Tuned", "awq": "AWQ 4-bit", "turbomind": "TurboMind 4-bit"}
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
VARIANT_NOTES = {
    "base": "The model before the first stage.",
    "tuned": "The model after the last stage, merged, in full precision.",
    "awq": "The 4-bit AWQ weights, dequantised and run as an ordinary model: this tests the "
    "weights, not a 4-bit kernel.",
    "turbomind": "The weights read back from the TurboMind workspace and run as an ordinary "
    "model: this tests the artefact that the engine loads, not the engine.",
} | {method: f"The model after the stage {method}, merged." for method in STAGE_NAMES}
BENCHMARK_NOTES = {
    "heldout": "questions about facts that tuning never saw",
    "recall": "a sample of the questions it was tuned on",
    "heldout_mcq": "the held-out questions with four options; guessing gives 25%",
    "heldout_preference": "held-out pairs: which of two answers is the likelier one; guessing "
    "gives 50%",
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
        # what a stage on the way got wrong tells nothing of the model that came of it
        last = ("tuned", *numbers.QUANTISED)
        after = [cell for variant, cell in entry["cells"].items() if variant in last]
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


def read_run(run: dict[str, Any], benchmarks: list[str], samples: int) -> dict[str, Any]:
    """Everything the page shows of one run, from the files that the inventory names."""
    scores = inputs.read_run_scores(run)
    answers = {
        variant: inputs.read_predictions(Path(path)) for variant, path in run["predictions"].items()
    }

    def changes(benchmark: str, before: str, after: str) -> numbers.Paired | None:
        return numbers.paired(
            *(
                [row for row in answers[variant] if row["benchmark"] == benchmark]
                for variant in (before, after)
            )
        )

    compared = numbers.compared_with(run["variants"])
    final = numbers.final_variant(run["variants"])
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
        "answers": {b: choose_samples(answers, b, samples) for b in benchmarks},
        # kept of all answers, to compare the runs with each other
        "final": {
            b: [
                {"id": row["id"], "correct": row["correct"]}
                for row in answers[final]
                if row["benchmark"] == b
            ]
            for b in benchmarks
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


# What the ledger counts beside kept and rejected rows, where a domain has it.
COUNTS = {
    "not_sampled": "rows that a random sample did not draw",
    "repeated": "further copies of rows, for training",
}


# What of the held-out side could not be made into a question with options.
SKIPPED = {
    "mcq_skipped": "questions left out of heldout_mcq",
    "preference_skipped": "pairs left out of heldout_preference",
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
                **{count: source.get(count, 0) for count in COUNTS},
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
        **{count: sum(source.get(count, 0) for source in ledger["sources"]) for count in COUNTS},
        "review": ledger["review"],
        "kinds": (split := ledger.get("split", {})).get("by_kind", {}),
        "split": flat({key: value for key, value in split.items() if key != "by_kind"})
        | {text: ledger[key] for key, text in SKIPPED.items() if ledger.get(key)},
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
    """The ledger as CSV: source, rows, kept, rejected, other counts, a column for each reason."""
    reasons = [entry["reason"] for entry in ledger["reasons"]]
    others = [count for count in COUNTS if ledger[count]]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["source", "rows", "kept", "rejected", *others, *reasons])
        for source in ledger["sources"]:
            counts = [source["rejected"].get(reason, 0) for reason in reasons]
            total = [source["rows"], source["kept"], source["rejected_rows"]]
            more = [source[count] for count in others]
            writer.writerow([source["source"], *total, *more, *counts])


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


# With more runs than this, what is told of each run is folded, and charts show the best ones.
FEW_RUNS = 4
# So many questions of a benchmark are shown of each run at least.
FEWEST_SAMPLES = 2


def compare(runs: list[dict[str, Any]], parts: list[dict[str, Any]]) -> dict[str, Any]:
    """What the page says across runs: {"benchmarks", "ranked", "settings", "best"}."""
    scores = [score for run in runs for score in run["scores"]]
    benchmarks = final_scores(parts, scores)
    answers = {run["name"]: run["final"] for run in runs}

    def best(benchmark: str, by_run: dict[str, Score]) -> Best:
        return best_run(
            benchmark,
            by_run,
            lambda run, leader: numbers.paired(
                answers[run].get(benchmark, ()), answers[leader].get(benchmark, ())
            ),
        )

    return {
        "benchmarks": benchmarks,
        "ranked": ranking(benchmarks),
        "settings": differing(parts),
        "best": [best(name, by_run) for name, by_run in benchmarks.items() if len(by_run) > 1],
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


def build(options: argparse.Namespace) -> str:
    """The page as text; writes the charts and the ledger's table on the way."""
    inventory = inputs.read_json(options.inventory, ("domain", "runs", "costs", "versions"))
    context = json.loads(options.context)
    config = json.loads(options.config)
    benchmarks = config["evaluation"]["benchmarks"]
    parts = inventory["runs"]
    samples = max(FEWEST_SAMPLES, options.samples // len(parts))
    runs = [read_run(run, benchmarks, samples) for run in parts]
    table = numbers.score_table([score for run in runs for score in run["scores"]])
    verdicts = [
        numbers.verdict(
            numbers.Evidence(
                run=run["name"],
                rows=[row for row in table if row.run == run["name"]],
                tests=run["tests"],
                overall=run["overall"],
                reward=run["reward"],
                methods=changing_methods(part),
            ),
            benchmarks[0],
            run["names"],
            subjects_of(part),
            options.tolerance,
        )
        for run, part in zip(runs, parts, strict=True)
    ]
    comparison = compare(runs, parts)
    tables = layouts(runs)
    if len(tables) == 1:
        variants, names = tables[0]["variants"], tables[0]["names"]
    else:  # the columns of all runs together, under the names that hold for all
        evaluated = {variant for entry in tables for variant in entry["variants"]}
        names = {v: name for v, name in ALL_NAMES.items() if v in evaluated}
        variants = list(names)
    costs = sorted(inputs.read_costs(inventory["costs"]), key=lambda cost: -cost.seconds)
    ledger = read_ledger(Path(inventory["ledger"]), Path(inventory["rejected"]), 5)
    figures = draw(runs, table, variants, names, comparison)
    for name, path in (("scores", options.scores_chart), ("loss", options.loss_chart)):
        path.write_text(charts.standalone(figures["files"][name]), encoding="utf-8")
    write_ledger_table(ledger, options.ledger_table)
    script = (PAGE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return environment().get_template("report.html.j2").render(
        domain=inventory["domain"],
        settings=flat(config),
        accelerator=config.get("accelerator"),
        runs=runs,
        several=len(runs) > 1,
        many=len(runs) > FEW_RUNS,
        few=FEW_RUNS,
        comparison=comparison,
        tables=tables,
        table=table,
        variants=variants,
        names=names,
        stage_names=STAGE_NAMES,
        counts=COUNTS,
        signals=list(
            dict.fromkeys(key for run in runs for stage in run["stages"] for key in stage["last"])
        ),
        grey=len(runs) > len(charts.SERIES),
        variant_notes=VARIANT_NOTES,
        benchmark_notes=BENCHMARK_NOTES,
        benchmarks=benchmarks,
        check_names=CHECK_NAMES,
        error_key=ERROR_KEY,
        verdicts=verdicts,
        headlines=Counter((verdict.mood, verdict.headline) for verdict in verdicts).most_common(),
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
    runs: list[dict[str, Any]],
    table: list[numbers.ScoreRow],
    variants: list[str],
    names: dict[str, str],
    comparison: dict[str, Any],
) -> dict[str, Any]:
    """All charts: {"files": {name: svg}, "inline": {name: element}}."""
    ranked = comparison["ranked"]
    in_bars = [row for run in ranked[:FEW_RUNS] for row in table if row.run == run]
    logs: dict[str, dict[str, Any]] = {}
    for method in STAGE_NAMES:
        for run in runs:
            for stage in run["stages"]:
                if stage["method"] == method:
                    logs.setdefault(method, {})[run["name"]] = stage["log"]
    files = {
        "scores": charts.scores(in_bars, variants, names),
        "loss": charts.training(logs, STAGE_NAMES, ranked[0]),
    }
    labels = {
        "scores": "Bar chart of the scores of every variant; the table below has the numbers.",
        "loss": "Line charts of the training loss by iteration; the table below has its ends.",
        "comparison": "Dot chart of the final score of every run; the table below has the numbers.",
    }
    drawn = dict(files)
    if len(runs) > 1:
        drawn["comparison"] = charts.comparison(comparison["benchmarks"], ranked)
    elements = {name: Markup(charts.inline(svg, name, labels[name])) for name, svg in drawn.items()}
    for index, run in enumerate(runs):
        if run["errors"] and run["name"] in ranked[:FEW_RUNS]:
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
    env.globals["interval"] = numbers.wilson
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
    parser.add_argument("--inventory", type=Path, required=True, help="JSON: the files to read")
    parser.add_argument(
        "--context", required=True, help="JSON: versions and commands of the runner"
    )
    parser.add_argument("--config", required=True, help="JSON: the configuration, less its runs")
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
