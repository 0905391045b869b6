"""Size, memory and speed of a run's models on this CPU, each in a process of its own, in turn.

LMDeploy's engine needs a GPU: of its workspace nothing but the size is measured, as its row says.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from machine import processor

MEASURE = Path(__file__).with_name("measure_model.py")
COLUMNS = (
    *("variant", "format", "disk_bytes", "weight_bytes", "start_bytes", "peak_bytes"),
    *("prompt_tokens", "prefill_tokens_per_s", "prefill_slowest", "prefill_fastest"),
    *("decode_tokens_per_s", "decode_slowest", "decode_fastest", "repetitions"),
    *("threads", "machine", "note"),
)


class MeasurementError(RuntimeError):
    """A model could not be measured; the message says which."""


def disk_bytes(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def summary(name: str, values: Sequence[float]) -> dict[str, str]:
    """The columns of a speed in tokens per second: median, slowest, fastest."""
    return {
        f"{name}_tokens_per_s": f"{statistics.median(values):.4g}",
        f"{name}_slowest": f"{min(values):.4g}",
        f"{name}_fastest": f"{max(values):.4g}",
    }


def measured(args: argparse.Namespace, folder: Path, number_format: str) -> dict[str, Any]:
    """The columns of one model.

    Raises:
        MeasurementError: its process has failed.
    """
    command = [sys.executable, MEASURE, "--model", folder, "--tokenizer", args.merged]
    command += ["--format", number_format, "--conversations", args.conversations]
    command += ["--threads", str(args.threads)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    if process.returncode != 0:
        raise MeasurementError(
            f"measuring {folder} in {number_format} failed (exit code {process.returncode}); its "
            "own message is above"
        )
    found = json.loads(process.stdout)
    prefill, decode = found.pop("prefill"), found.pop("decode")
    repetitions = {"repetitions": min(len(prefill), len(decode))}
    return found | summary("prefill", prefill) | summary("decode", decode) | repetitions


def rows(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The rows of the table, as they are measured."""
    models = [("tuned", args.merged, name) for name in ("float32", "bfloat16", "float16")]
    if args.dequantized:
        models.append(("awq", args.dequantized, "float32"))
    models.append(("int4", args.awq, "int4"))
    for variant, folder, number_format in models:
        row = {"variant": variant, "format": number_format, "disk_bytes": disk_bytes(folder)}
        yield row | measured(args, folder, number_format)
    if args.turbomind:
        yield {
            "variant": "turbomind",
            "format": "int4",
            "disk_bytes": disk_bytes(args.turbomind),
            "note": "the engine needs a GPU",
        }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--merged", type=Path, required=True, help="the tuned model, 16 bit")
    parser.add_argument("--awq", type=Path, required=True, help="its AWQ weights")
    parser.add_argument("--dequantized", type=Path, help="these, read back")
    parser.add_argument("--turbomind", type=Path, help="workspace of LMDeploy's engine")
    parser.add_argument("--conversations", type=Path, required=True, help="JSON lines: messages")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True, help="CSV file to write")
    args = parser.parse_args(argv)
    here = {
        "threads": args.threads,
        "machine": f"{processor() or 'unknown processor'}, {os.cpu_count()} cores",
    }
    try:
        found = []
        for row in rows(args):
            found.append(row | here)
            print(json.dumps(found[-1]), flush=True)
    except MeasurementError as error:
        sys.exit(f"measure_performance: {error}.")
    with args.output.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(found)


if __name__ == "__main__":
    main()
