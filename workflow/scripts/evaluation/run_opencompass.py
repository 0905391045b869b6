"""Ask one model all questions of all benchmarks, in one start of OpenCompass.

OpenCompass takes several seconds to import, and by itself starts one process for inference and
one for scoring. Under --debug both happen in the process it was started in, and a failure there
becomes its exit code; without --debug it ends with 0 although the inference has failed.
"""

import argparse
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opencompass_config import Setting, dataset_config, dataset_rows, model_config, render
from opencompass_results import ResultError, read_results
from question_files import Benchmark, BenchmarkError, read_benchmark

EXTENSION_FOLDER = Path(__file__).resolve().parent / "extension"

# What OpenCompass leaves in the folder it runs in.
LITTER = ("tmp", ".cache", "icl_inference_output", "home")


class EvaluationError(RuntimeError):
    """The evaluation cannot be done or has failed; the message says why."""


def context_length(model: Path) -> int:
    """Longest sequence in tokens that the model takes, from its config.json.

    Raises:
        EvaluationError: there is no such file, or it does not say.
    """
    try:
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        return int(config["max_position_embeddings"])
    except FileNotFoundError:
        raise EvaluationError(f"{model} is not a model folder: it has no config.json") from None
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise EvaluationError(
            f"{model}/config.json does not tell max_position_embeddings ({error!r})"
        ) from None


def environment(folder: Path, inherited: dict[str, str]) -> dict[str, str]:
    """Environment of the OpenCompass process: our modules importable, nothing fetched."""
    python_path = [str(EXTENSION_FOLDER), inherited.get("PYTHONPATH", "")]
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(filter(None, python_path)),
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "HF_HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_EVALUATE_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_MININTERVAL": "10",
    }


def run_opencompass(
    folder: Path,
    variant: str,
    model: Path,
    tokenizer: Path,
    benchmarks: Sequence[Benchmark],
    setting: Setting,
) -> Path:
    """Run OpenCompass in `folder`, which is emptied first, and return its run folder.

    Predictions of an earlier run would be taken for this one's.

    Raises:
        EvaluationError: OpenCompass has failed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "data").mkdir(parents=True)
    folder = folder.resolve()
    datasets = []
    for benchmark in benchmarks:
        path = folder / "data" / f"{benchmark.name}.jsonl"
        with open(path, "w", encoding="utf-8") as file:
            for question in dataset_rows(benchmark, setting.system):
                file.write(json.dumps(question, ensure_ascii=False) + "\n")
        datasets.append(dataset_config(benchmark, path, setting.system))
    config = render(
        model_config(variant, model, tokenizer, context_length(model), setting), datasets
    )
    (folder / "config.py").write_text(config, encoding="utf-8")

    command = [sys.executable, "-m", "opencompass.cli.main", "config.py"]
    command += ["--work-dir", str(folder), "--reuse", "run", "--debug"]
    process = subprocess.run(
        command, cwd=folder, env=environment(folder, dict(os.environ)), check=False
    )
    for name in LITTER:
        shutil.rmtree(folder / name, ignore_errors=True)
    if process.returncode != 0:
        raise EvaluationError(
            f"OpenCompass failed on the variant '{variant}' (exit code {process.returncode}); "
            "its own message is above"
        )
    return folder / "run"


def evaluate(
    folder: Path,
    variant: str,
    model: Path,
    tokenizer: Path,
    benchmarks: Sequence[Benchmark],
    setting: Setting,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run all benchmarks; return the content of metrics.json and the rows of predictions.jsonl."""
    started = time.time()
    run = run_opencompass(folder, variant, model, tokenizer, benchmarks, setting)
    scores, rows = {}, []
    for benchmark in benchmarks:
        score, answers = read_results(run, variant, benchmark, setting.system)
        scores[benchmark.name] = {"mode": benchmark.mode, **score}
        rows += answers
    # OpenCompass writes this file as soon as it has imported everything and read the config
    ready = min(path.stat().st_mtime for path in (run / "configs").iterdir())
    metrics = {
        "variant": variant,
        "backend": {
            "tool": f"opencompass {importlib.metadata.version('opencompass')}",
            **setting.describe(benchmarks),
        },
        "benchmarks": scores,
        "seconds": {
            "start_up": round(ready - started, 3),
            "inference": round(sum(score["seconds"] for score in scores.values()), 3),
            "total": round(time.time() - started, 3),
        },
    }
    return metrics, rows


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", required=True, help="name of the model in the results")
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument(
        "--tokenizer", type=Path, required=True, help="folder of the tokenizer and chat template"
    )
    parser.add_argument(
        "--benchmarks", nargs="+", type=Path, required=True, help="question files, NAME.jsonl"
    )
    parser.add_argument(
        "--local",
        type=json.loads,
        default={},
        help='JSON: {NAME: {"mode", "instruction"}} of those that are not the workflow\'s own',
    )
    parser.add_argument("--system", default="", help="of questions without their own; empty: none")
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--max-new-tokens", type=int, required=True)
    parser.add_argument("--trust-remote-code", action="store_true")
    parser.add_argument("--work-dir", type=Path, required=True, help="for OpenCompass' own files")
    parser.add_argument("--metrics", type=Path, required=True, help="scores to write, JSON")
    parser.add_argument("--predictions", type=Path, required=True, help="answers, JSON lines")
    args = parser.parse_args(argv)

    setting = Setting(
        device=args.device,
        batch_size=args.batch_size,
        max_new_tokens=args.max_new_tokens,
        system=args.system,
        trust_remote_code=args.trust_remote_code,
    )
    try:
        benchmarks = [
            read_benchmark(path.stem, path, **args.local.get(path.stem, {}))
            for path in args.benchmarks
        ]
        metrics, rows = evaluate(
            args.work_dir, args.variant, args.model, args.tokenizer, benchmarks, setting
        )
    except (BenchmarkError, EvaluationError, ResultError, OSError) as error:
        sys.exit(f"evaluate: {error}")
    with open(args.predictions, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    args.metrics.write_text(
        json.dumps(metrics, ensure_ascii=False, indent=2) + "\n", encoding="utf-8"
    )
    for name, score in metrics["benchmarks"].items():
        figures = ", ".join(f"{metric} {value:.3f}" for metric, value in score["metrics"].items())
        print(f"{args.variant} {name}: {figures} (n={score['n']}, {score['seconds']} s)")


if __name__ == "__main__":
    main()
