"""Collect what a run's model card says, from the files of the other stages, and write the card.

It quotes no row of the corpus and names none of its files: a card is read by others.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "config"))
sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

import report_inputs as inputs
import report_numbers as numbers
from card import render
from licences import decided
from report_comparison import flat
from report_inputs import InputError
from report_intervals import intervals_of
from runs import settings_read

# The tools whose versions say how the model was made: package -> environment.
TOOLS = {
    "xtuner": "xtuner",
    "trl": "trl",
    "torch": "xtuner",
    "transformers": "xtuner",
    "lmdeploy": "lmdeploy",
    "opencompass": "opencompass",
}


def scores_of(run: dict[str, Any]) -> dict[str, Any]:
    """The scores of a run with their intervals, and what 4 bits have changed.

    Returns:
        {"variants", "scores": [{"benchmark", "metric", "n", "scores", "intervals"}],
        "costs": [{"benchmark", "metric", "variant", "change", "interval"}]}; scores as fractions,
        costs as texts, in points, of the metrics that stand for their benchmarks.
    """
    scores = inputs.read_run_scores(run)
    answers = {
        variant: inputs.read_predictions(Path(path)) for variant, path in run["predictions"].items()
    }
    compared = numbers.compared_with(run["variants"])
    intervals = intervals_of(scores, answers, compared)
    table = numbers.score_table(scores)
    return {
        "variants": run["variants"],
        "scores": [
            {
                "benchmark": row.benchmark,
                "metric": row.metric,
                "n": row.n,
                "scores": row.scores,
                "intervals": intervals[row.benchmark, row.metric].scores,
            }
            for row in table
        ],
        "costs": [
            {
                "benchmark": row.benchmark,
                "metric": row.metric,
                "variant": variant,
                "change": numbers.points(difference),
                "interval": [
                    numbers.points(end)
                    for end in intervals[row.benchmark, row.metric].differences.get(variant, ())
                ],
            }
            for row in table
            if row.leading
            for variant, difference in row.differences.items()
            if variant in numbers.QUANTISED
        ],
    }


def stage_of(stage: dict[str, Any]) -> dict[str, Any]:
    """What the card says of the training of a stage."""
    log = inputs.read_training_log(Path(stage["training_log"]))
    return {
        "method": stage["method"],
        "settings": flat(settings_read(stage["method"], stage["training"])),
        "iterations": log["steps"][-1]["iteration"],
        "seconds": log.get("summary", {}).get("seconds"),
        "first_loss": log["steps"][0]["loss"],
        "last_loss": log["steps"][-1]["loss"],
    }


def ledger_of(path: Path) -> dict[str, Any]:
    """What became of the rows, in numbers alone."""
    ledger = inputs.read_json(path, ("sources", "total", "split", "review"))
    total, split = ledger["total"], ledger["split"]
    return {
        "sources": len(ledger["sources"]),
        **{key: total[key] for key in ("rows", "not_sampled", "kept", "rejected")},
        **{key: split[key] for key in ("train", "heldout", "leaked")},
        "review": ledger["review"],
    }


def languages_of(corpus_card: Path) -> list[str]:
    """The languages that the card of the corpus names in its front matter."""
    for line in corpus_card.read_text(encoding="utf-8").splitlines():
        if line.startswith("language: "):
            return json.loads(line.removeprefix("language: "))
    raise InputError(f"{corpus_card} names no languages. Remove it and run `snakemake` again.")


def collect(inventory: dict[str, Any], name: str, card: Path, given: dict) -> dict[str, Any]:
    """All that the card says.

    Args:
        inventory: as build_report.py describes it.
        name: of the run.
        card: that of the corpus.
        given: of the configuration: {"base": {"name", "source", "repository", "revision"},
            "system", "data_licence", "quantization"}.
    """
    (run,) = (run for run in inventory["runs"] if run["name"] == name)
    manifest = inputs.read_json(Path(run["manifest"]), ("licence", "parameters", "files"))
    last = [stage for stage in run["stages"] if stage["method"] != numbers.REWARD][-1]
    check = inputs.read_json(Path(last["verification"]["chat_template"]), ("summary",))["summary"]
    packages = {
        env: inputs.read_json(Path(path), ("packages",))["packages"]
        for env, path in inventory["versions"].items()
    }
    return {
        "domain": inventory["domain"],
        "run": name,
        "base": given["base"]
        | {key: manifest[key] for key in ("licence", "parameters")}
        | {
            "weights": {
                file: entry["sha256"]
                for file, entry in manifest["files"].items()
                if file.endswith(".safetensors")
            }
        },
        "data_licence": given["data_licence"],
        "languages": languages_of(card),
        "prompt": {
            "template": check["prompt_template"],
            "compared": check["conversations_compared"],
            "example": check["example"],
            "system": given["system"],
        },
        **scores_of(run),
        "ledger": ledger_of(Path(inventory["ledger"])),
        "stages": [stage_of(stage) for stage in run["stages"]],
        "quantization": given["quantization"],
        "tools": {
            tool: packages[env][tool]
            for tool, env in TOOLS.items()
            if tool in packages.get(env, {})
        },
    }


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inventory", type=Path, required=True, help="JSON: the files to read")
    parser.add_argument("--run", required=True)
    parser.add_argument("--corpus-card", type=Path, required=True)
    parser.add_argument("--given", type=json.loads, required=True, help="of the configuration")
    parser.add_argument("--values", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--card", type=Path, required=True, help="Markdown file to write")
    args = parser.parse_args(argv)
    try:
        inventory = inputs.read_json(args.inventory, ("domain", "runs", "ledger", "versions"))
        values = collect(inventory, args.run, args.corpus_card, args.given)
    except InputError as error:
        sys.exit(f"model_card: {error}")
    licence = decided(values["base"]["licence"], values["data_licence"])
    args.card.write_text(render(values, "merged", licence), encoding="utf-8")
    text = json.dumps(values, ensure_ascii=False, indent=1)
    args.values.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
