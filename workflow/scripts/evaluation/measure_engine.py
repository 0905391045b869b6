"""Size, memory and speed of LMDeploy's engine on a GPU, with several settings of its KV cache.

Each setting in a process of its own, in turn. One with which the engine does not run gets a row
that says so.
"""

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from measurements import MeasurementError, disk_bytes, measured, write_table

MEASURE = Path(__file__).with_name("measure_turbomind.py")
# LMDeploy's quant_policy and cache_max_entry_count: bits of a cached number, 0 being 16, and which
# part of the GPU's memory that is still free beside the weights the cache takes. 0.8 is LMDeploy's
# default, and what `make api` asks for; another part shows what it costs in memory, and in nothing
# else as long as the text fits in.
SETTINGS = ((0, 0.8), (8, 0.8), (4, 0.8), (0, 0.2))
# Loading some ten billion weights from a slow disk takes minutes.
SECONDS = 1800
BLOCKS = re.compile(r"\[BlockManager\] max_block_count = (\d+)")


def measure(args: argparse.Namespace, bits: int, share: float) -> dict[str, Any]:
    """The columns of one setting.

    Raises:
        MeasurementError: its process has failed.
    """
    command = [MEASURE, "--model", args.model, "--tokenizer", args.tokenizer]
    command += ["--quant-policy", str(bits), "--cache-max-entry-count", str(share)]
    command += ["--conversations", args.conversations]
    command += ["--trust-remote-code"] if args.trust_remote_code else []
    columns, said = measured(command, SECONDS)
    block_tokens = columns.pop("block_tokens")
    if blocks := BLOCKS.search(said):
        columns["cache_tokens"] = int(blocks[1]) * block_tokens
    return columns


def rows(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The rows of the table, as they are measured."""
    for bits, share in SETTINGS:
        row = {"variant": args.variant, "format": "int4", "device": "cuda"}
        row |= {"kv_bits": bits or 16, "kv_share": share, "disk_bytes": disk_bytes(args.model)}
        try:
            yield row | measure(args, bits, share)
        except MeasurementError as error:
            # Not every GPU and model can do each of them. It tells nothing of the model's answers,
            # for which the run was made.
            print(f"measure_engine: KV cache of {bits or 16} bits, {share}: {error}.", flush=True)
            yield row | {"note": "LMDeploy's engine failed; the job's log says why"}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", choices=("awq", "turbomind"), required=True)
    parser.add_argument("--model", type=Path, required=True, help="its folder")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code it brings")
    parser.add_argument("--conversations", type=Path, required=True, help="JSON lines: messages")
    parser.add_argument("--output", type=Path, required=True, help="CSV file to write")
    args = parser.parse_args(argv)
    write_table(args.output, rows(args))


if __name__ == "__main__":
    main()
