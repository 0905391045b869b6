"""The evaluation of a finished run beside lm-evaluation-harness, on the same questions.

    make bench-evaluation [ARGS="--run results/DOMAIN/RUN --variants tuned awq"]

Asks the held-out questions twice, one after the other: by the script of the rule `evaluate`, and by
lm-evaluation-harness in an environment of its own (lm_eval.yaml). Whether a free answer is right is
the workflow's rule in both. Of four options both take the one that is likeliest as the whole
answer, its end included; tasks that come with the harness leave the end out. Writes
results/benchmarks/evaluation.json, and fails where a question is right in one, wrong in the other.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from corpus import ROOT, measure, python_of

sys.path.insert(0, str(ROOT / "workflow" / "scripts" / "environments"))

import environments

BENCHMARKS = ("heldout", "heldout_mcq")
FOLDERS = {"awq": "dequantized/awq", "turbomind": "dequantized/turbomind"}


def final_model(run: Path) -> Path:
    """The merged model of a run's last stage."""
    inventory = json.loads((run.parent / "inventory.json").read_text(encoding="utf-8"))
    (stages,) = (one["stages"] for one in inventory["runs"] if one["name"] == run.name)
    methods = [stage["method"] for stage in stages if stage["method"] != "reward"]
    return run / methods[-1] / "merged"


def setting_of(run: Path, variant: str) -> dict:
    """How a variant was asked, from its metrics.json."""
    path = run / "evaluation" / variant / "metrics.json"
    return json.loads(path.read_text(encoding="utf-8"))["backend"]


def ours(python: str, paths: dict[str, Path], questions: dict[str, str], setting: dict) -> list:
    """The command of the rule `evaluate`."""
    script = ROOT / "workflow" / "scripts" / "evaluation" / "run_opencompass.py"
    words = [python, script, "--variant", "same", "--model", paths["model"]]
    words += ["--tokenizer", paths["tokenizer"], "--benchmarks", *questions.values()]
    words += [f"--system={setting['system']}", "--device", setting["device"]]
    words += ["--batch-size", setting["batch_size"], "--max-new-tokens", setting["max_new_tokens"]]
    words += ["--trust-remote-code"] if setting["trust_remote_code"] else []
    words += ["--work-dir", paths["folder"] / "opencompass"]
    words += ["--metrics", paths["folder"] / "metrics.json"]
    return [*words, "--predictions", paths["folder"] / "predictions.jsonl"]


def theirs(python: str, paths: dict[str, Path], questions: dict[str, str], setting: dict) -> list:
    """The command of lm-evaluation-harness."""
    words = [python, ROOT / "benchmarks" / "evaluation_lm_eval.py", "--model", paths["model"]]
    words += ["--tokenizer", paths["tokenizer"], "--questions", json.dumps(questions)]
    return [*words, "--setting", json.dumps(setting), "--out", paths["folder"] / "lm_eval.json"]


def compare(folder: Path, benchmarks: Iterable[str]) -> list[dict]:
    """By benchmark: questions, how many each calls right, and where they say something else."""
    with open(folder / "predictions.jsonl", encoding="utf-8", newline="\n") as file:
        rows = [json.loads(line) for line in file]
    others = json.loads((folder / "lm_eval.json").read_text(encoding="utf-8"))
    found = []
    for name in benchmarks:
        pairs = [(row, others[f"{name} {row['id']}"]) for row in rows if row["benchmark"] == name]
        one = {
            "benchmark": name,
            "questions": len(pairs),
            "opencompass": sum(row["correct"] for row, _ in pairs),
            "lm_eval": sum(other["correct"] for _, other in pairs),
            "different": [row["id"] for row, other in pairs if row["correct"] != other["correct"]],
        }
        if name == "heldout":
            one["other_text"] = sum(row["prediction"] != other["said"][0] for row, other in pairs)
            one["lm_eval_same_text"] = sum(other["same_text"] for _, other in pairs)
        else:
            # apart from what is the same for all options: the harness takes the line feed that ends
            # the chat template for a part of each option
            offsets = [
                [mine - theirs for mine, (theirs, _) in zip(*both, strict=True)]
                for both in (
                    (row["log_likelihood"].values(), other["said"]) for row, other in pairs
                )
            ]
            one["likelihoods_differ_by"] = max(max(each) - min(each) for each in offsets)
        found.append(one)
    return found


def main() -> str | None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("results/civil_service/tiny-qlora"))
    parser.add_argument("--variants", nargs="+", choices=["tuned", *FOLDERS], default=["tuned"])
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/evaluation.json"))
    options = parser.parse_args()
    if not (options.run / "scores.csv").exists():
        return f"evaluation: {options.run} is no finished run; make run first, or name one: --run"
    corpus = options.run.parent.resolve() / "corpus"
    found = {name: corpus / f"{name}.jsonl" for name in BENCHMARKS}
    questions = {name: str(path) for name, path in found.items() if path.exists()}
    if any('"system"' in Path(path).read_text(encoding="utf-8") for path in questions.values()):
        return "evaluation: the harness cannot ask questions with system prompts of their own"
    opencompass = python_of("opencompass")
    lm_eval = str(environments.ensure("lm_eval", ROOT / "benchmarks") / "bin" / "python")
    tokenizer = final_model(options.run)
    # so that Python's first compiling of either is not counted
    for python, package in ((opencompass, "opencompass.cli.main"), (lm_eval, "lm_eval.models")):
        subprocess.run([python, "-c", f"import {package}"], check=True)
    measured = []
    for variant in options.variants:
        setting = setting_of(options.run, variant)
        with tempfile.TemporaryDirectory() as folder:
            paths = {
                "model": options.run / FOLDERS[variant] if variant in FOLDERS else tokenizer,
                "tokenizer": tokenizer,
                "folder": Path(folder),
            }
            took = [
                asdict(measure(name, [*map(str, command)], Path(folder)))
                for name, command in (
                    ("opencompass", ours(opencompass, paths, questions, setting)),
                    ("lm_eval", theirs(lm_eval, paths, questions, setting)),
                )
            ]
            measured.append(
                {"variant": variant, "took": took, "found": compare(Path(folder), questions)}
            )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(measured, ensure_ascii=False, indent=1) + "\n", "utf-8")
    for one in measured:
        print(f"{options.run} {one['variant']}")
        for row in one["found"]:
            print("    " + ", ".join(f"{key} {value}" for key, value in row.items()))
        for row in one["took"]:
            print(
                f"    {row['name']}: {row['cpu_s']:.1f} s of processor time, "
                f"{row['wall_s']:.1f} s, {row['peak_mb']:,.0f} MB"
            )
        mine, other = (row["cpu_s"] for row in one["took"])
        print(f"    processor time of ours: {mine / other:.2f} times that of lm_eval")
    if any(row["different"] for one in measured for row in one["found"]):
        return "evaluation: the two do not agree on all questions; see above"
    return None


if __name__ == "__main__":
    sys.exit(main())
