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
        "performance": [paths of the sizes and speeds of its models],
        "variants": [those evaluated, in the order in which they are made],
        "predictions": {variant: path},
        "stages": [{"method", "training": {setting: value}, "training_log": path,
                    "verification": {check: path}}],
        "verification": {check: path}}],
     "local": {benchmark: path of what was found on this machine},
     "costs": [{"path": Snakemake's benchmark file, "job", "scope"}]}
"""

import argparse
import base64
import datetime
import hashlib
import json
import os
import platform
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import jinja2
import report_charts as charts
import report_inputs as inputs
import report_numbers as numbers
from markupsafe import Markup
from report_comparison import Best, best_run, differing, effects, final_scores, flat, ranking
from report_gates import parse
from report_inputs import InputError, Score
from report_intervals import Intervals
from report_ledger import COUNTS, read_ledger, write_ledger_table
from report_performance import read_performance
from report_runs import (
    ALL_NAMES,
    ERROR_KEY,
    STAGE_NAMES,
    changing_methods,
    layouts,
    read_run,
    subjects_of,
)
from report_verdict import Evidence, verdict

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))
from machine import processor

PAGE = Path(__file__).parent / "page"
# of the summary of a benchmark on this machine
LOCAL_KEYS = ("questions", "subjects", "options", "shots", "unusable", "given_away")
VARIANT_NOTES = {
    "base": "The model before the first stage.",
    "tuned": "The model after the last stage, merged, in full precision.",
    "awq": "The 4-bit AWQ weights, dequantised and run as an ordinary model: this tests the "
    "weights, not a 4-bit kernel.",
    "int4": "The AWQ weights, computed with in 4 bits by PyTorch's int4 kernel for CPUs, all the "
    "rest in bfloat16.",
    "turbomind": "The weights read back from the TurboMind workspace and run as an ordinary "
    "model: this tests the artefact that the engine loads, not the engine.",
    "served": "The TurboMind model as make api serves it, asked over HTTP: on a GPU by LMDeploy's "
    "engine, without one by transformers, on the weights read back. It generates answers and tells "
    "no likelihoods, so it is not asked what needs these.",
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
    if name := processor():
        machine = {"processor": name} | machine
    try:
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
    """What the page says across runs: {"benchmarks", "ranked", "settings", "best", "effects"}."""
    scores = [score for run in runs for score in run["scores"]]
    benchmarks = final_scores(parts, scores)
    answers = {run["name"]: run["final"] for run in runs}

    def best(benchmark: str, by_run: dict[str, Score]) -> Best:
        return best_run(
            benchmark,
            by_run,
            lambda run, leader: numbers.paired(
                answers[run].get(benchmark, ()),
                answers[leader].get(benchmark, ()),
                numbers.counted(by_run[leader].metric),
            ),
        )

    settings = differing(parts)
    return {
        "benchmarks": benchmarks,
        "ranked": ranking(benchmarks),
        "settings": settings,
        "effects": effects(settings, next(iter(benchmarks.values()))),
        "best": [best(name, by_run) for name, by_run in benchmarks.items() if len(by_run) > 1],
    }


def build(options: argparse.Namespace) -> str:
    """The page as text; writes the charts and the ledger's table on the way."""
    inventory = inputs.read_json(
        options.inventory, ("domain", "runs", "costs", "versions", "local")
    )
    context = json.loads(options.context)
    config = json.loads(options.config)
    benchmarks = config["evaluation"]["benchmarks"]
    parts = inventory["runs"]
    samples = max(FEWEST_SAMPLES, options.samples // len(parts))
    gates = [parse(text, benchmarks[0]) for text in config["evaluation"]["gates"]]
    runs = [read_run(run, benchmarks, samples, gates) for run in parts]
    table = numbers.score_table([score for run in runs for score in run["scores"]])
    verdicts = [
        verdict(
            Evidence(
                run=run["name"],
                rows=[row for row in table if row.run == run["name"]],
                tests=run["tests"],
                overall=run["overall"],
                reward=run["reward"],
                methods=changing_methods(part),
                kept=list(inventory["local"]),
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
        local={
            name: config["evaluation"]["local"][name]
            | inputs.read_json(Path(path), LOCAL_KEYS)
            for name, path in inventory["local"].items()
        },
        # by gate, not by run
        gates=[state for states in zip(*(run["gates"] for run in runs), strict=True)
               for state in states if state],
        benchmarks=benchmarks,
        check_names=CHECK_NAMES,
        error_key=ERROR_KEY,
        verdicts=verdicts,
        headlines=Counter((found.mood, found.headline) for found in verdicts).most_common(),
        tolerance=options.tolerance,
        ledger=ledger,
        performance=read_performance(parts),
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
    env.globals["no_intervals"] = Intervals()
    env.filters |= {
        "text": text,
        "words": numbers.words,
        "flat": flat,
        "said": said,
        "percent": numbers.percent,
        "points": numbers.points,
        "duration": numbers.duration,
        "memory": numbers.memory,
        "size": numbers.size,
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
