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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from opencompass_config import Setting, dataset_config, dataset_rows, model_config, render
from opencompass_results import ResultError, read_results
from question_files import Benchmark, BenchmarkError, read_benchmark

EXTENSION_FOLDER = Path(__file__).resolve().parent / "extension"

# What OpenCompass leaves in the folder it runs in.
LITTER = ("tmp", ".cache", "icl_inference_output", "home")
# The content of metrics.json, and the rows of predictions.jsonl.
Evaluated = tuple[dict[str, Any], list[dict[str, Any]]]


class EvaluationError(RuntimeError):
    """The evaluation cannot be done or has failed; the message says why."""


# What ChatModel computes AWQ weights with, whatever the setting says.
FOUR_BIT = {"dtype": "bfloat16", "weights": "int4"}


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
    model: Mapping[str, Any],
    benchmarks: Sequence[Benchmark],
    setting: Setting,
    variables: Mapping[str, str],
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
    (folder / "config.py").write_text(render(dict(model), datasets), encoding="utf-8")

    command = [sys.executable, "-m", "opencompass.cli.main", "config.py"]
    command += ["--work-dir", str(folder), "--reuse", "run", "--debug"]
    process = subprocess.run(
        command, cwd=folder, env=environment(folder, os.environ | variables), check=False
    )
    for name in LITTER:
        shutil.rmtree(folder / name, ignore_errors=True)
    if process.returncode != 0:
        raise EvaluationError(
            f"OpenCompass failed on the variant '{model['abbr']}' (exit code "
            f"{process.returncode}); its own message is above"
        )
    return folder / "run"


def evaluate(
    folder: Path,
    model: Mapping[str, Any],
    benchmarks: Sequence[Benchmark],
    setting: Setting,
    variables: Mapping[str, str] | None = None,
) -> Evaluated:
    """Run all benchmarks of one model.

    Args:
        folder: for OpenCompass' own files.
        model: its entry in OpenCompass' config.
        benchmarks: the questions.
        setting: what is the same for every variant.
        variables: of the environment, which the model class reads.

    Raises:
        EvaluationError: OpenCompass has failed.
        ResultError: what it wrote does not add up.
    """
    variant = model["abbr"]
    started = time.time()
    run = run_opencompass(folder, model, benchmarks, setting, variables or {})
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
            "model_class": model["type"],
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


def parser(description: str) -> argparse.ArgumentParser:
    """The options of whatever asks a variant its questions."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument("--variant", required=True, help="name of the model in the results")
    result.add_argument("--model", type=Path, required=True, help="model folder")
    result.add_argument(
        "--tokenizer", type=Path, required=True, help="folder of the tokenizer and chat template"
    )
    result.add_argument(
        "--benchmarks", nargs="+", type=Path, required=True, help="question files, NAME.jsonl"
    )
    result.add_argument(
        "--local",
        type=json.loads,
        default={},
        help='JSON: {NAME: {"mode", "instruction"}} of those that are not the workflow\'s own',
    )
    result.add_argument("--system", default="", help="of questions without their own; empty: none")
    result.add_argument("--device", choices=("cpu", "cuda"), required=True)
    result.add_argument("--batch-size", type=int, required=True)
    result.add_argument("--max-new-tokens", type=int, required=True)
    result.add_argument("--trust-remote-code", action="store_true")
    result.add_argument("--work-dir", type=Path, required=True, help="for OpenCompass' own files")
    result.add_argument("--metrics", type=Path, required=True, help="scores to write, JSON")
    result.add_argument("--predictions", type=Path, required=True, help="answers, JSON lines")
    return result


def publish(
    args: argparse.Namespace, ask: Callable[[Sequence[Benchmark], Setting], Evaluated]
) -> None:
    """Read the questions, let `ask` ask them, and write scores and answers.

    Raises:
        SystemExit: any of it has failed; with a message.
    """
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
        metrics, rows = ask(benchmarks, setting)
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


def main(argv: Sequence[str] | None = None) -> None:
    args = parser(__doc__.splitlines()[0]).parse_args(argv)

    def ask(benchmarks: Sequence[Benchmark], setting: Setting) -> Evaluated:
        context = context_length(args.model)
        model = model_config(args.variant, args.model, args.tokenizer, context, setting)
        metrics, rows = evaluate(args.work_dir, model, benchmarks, setting)
        if args.variant == "int4":
            metrics["backend"] |= FOUR_BIT
        return metrics, rows

    publish(args, ask)


if __name__ == "__main__":
    main()
