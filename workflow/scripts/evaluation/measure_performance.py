"""Size, memory and speed of a run's models in transformers, each in a process of its own, in turn.

On a CPU also of the weights in 4 bits. LMDeploy's engine needs a GPU, where measure_engine.py
measures it: on a CPU nothing but the size of its workspace is measured, as its row says.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from machine import processor
from measurements import MeasurementError, disk_bytes, measured, write_table

MEASURE = Path(__file__).with_name("measure_model.py")
# of the merged model; a GPU computes large models in 16 bits
FORMATS = {"cpu": ("float32", "bfloat16", "float16"), "cuda": ("bfloat16", "float16")}


def measure(args: argparse.Namespace, folder: Path, number_format: str) -> dict[str, Any]:
    """The columns of one model.

    Raises:
        MeasurementError: its process has failed.
    """
    command = [MEASURE, "--model", folder, "--tokenizer", args.merged]
    command += ["--format", number_format, "--device", args.device]
    command += ["--conversations", args.conversations, "--threads", str(args.threads)]
    command += ["--trust-remote-code"] if args.trust_remote_code else []
    try:
        return measured(command)[0]
    except MeasurementError as error:
        raise MeasurementError(f"measuring {folder} in {number_format} failed: {error}") from None


def rows(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The rows of the table, as they are measured."""
    here = {"device": args.device, "threads": args.threads}
    if args.device == "cpu":
        here["machine"] = f"{processor() or 'unknown processor'}, {os.cpu_count()} cores"
    models = [("tuned", args.merged, name) for name in FORMATS[args.device]]
    if args.dequantized:
        models.append(("awq", args.dequantized, "float32"))
    if args.awq:
        models.append(("int4", args.awq, "int4"))
    for variant, folder, number_format in models:
        row = {"variant": variant, "format": number_format, "disk_bytes": disk_bytes(folder)}
        yield here | row | measure(args, folder, number_format)
    if args.turbomind:
        row = {"variant": "turbomind", "format": "int4", "disk_bytes": disk_bytes(args.turbomind)}
        yield here | row | {"note": "the engine needs a GPU"}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--merged", type=Path, required=True, help="the tuned model, 16 bit")
    parser.add_argument("--awq", type=Path, help="its AWQ weights, for a CPU")
    parser.add_argument("--dequantized", type=Path, help="these, read back")
    parser.add_argument("--turbomind", type=Path, help="workspace of LMDeploy's engine")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code it brings")
    parser.add_argument("--device", choices=tuple(FORMATS), required=True)
    parser.add_argument("--conversations", type=Path, required=True, help="JSON lines: messages")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True, help="CSV file to write")
    args = parser.parse_args(argv)
    try:
        write_table(args.output, rows(args))
    except MeasurementError as error:
        sys.exit(f"measure_performance: {error}.")


if __name__ == "__main__":
    main()
