"""What the page tells of the size, memory and speed of the models."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from report_inputs import InputError, read_table

COLUMNS = (
    *("variant", "format", "device", "kv_bits", "kv_share", "disk_bytes", "weight_bytes"),
    *("cache_bytes", "cache_tokens", "start_bytes", "peak_bytes"),
    *("prompt_tokens", "prefill_tokens_per_s", "prefill_slowest", "prefill_fastest"),
    *("decode_tokens_per_s", "decode_slowest", "decode_fastest", "repetitions"),
    *("threads", "machine", "note"),
)
TEXTS = ("variant", "format", "device", "machine", "note")
# What a row is, other than its variant and its number format tell.
HOW = {
    ("tuned", "cpu"): "merged",
    ("awq", "cpu"): "dequantised, as evaluated",
    ("int4", "cpu"): "int4 kernel, rest bfloat16",
    ("tuned", "cuda"): "merged, in transformers",
    ("awq", "cuda"): "in LMDeploy's engine",
    ("turbomind", "cuda"): "in LMDeploy's engine",
}
COMMON = ("device", "threads", "machine", "start_bytes", "prompt_tokens")


def read_performance(runs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The measurements of the runs of the inventory that were measured.

    Returns:
        [{"run", "base_model", "device", "threads", "machine", "start_bytes", "prompt_tokens",
        "rows": [{"how", column: text or number, None where nothing was measured}]}]
    """
    found = []
    for run in runs:
        if not run["performance"]:
            continue
        paths = [Path(path) for path in run["performance"]]
        rows = [_row(path, line) for path in paths for line in read_table(path, COLUMNS)]
        measured = [row for row in rows if row["decode_tokens_per_s"] is not None]
        if not measured:
            raise InputError(
                f"{paths[0]} has no measurements. Remove it and run `snakemake` again."
            )
        common = {key: measured[0][key] for key in COMMON}
        found.append({"run": run["name"], "base_model": run["base_model"], "rows": rows} | common)
    return found


def _row(path: Path, line: dict[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {"how": HOW.get((line["variant"], line["device"]), "")}
    for column in COLUMNS:
        try:
            row[column] = line[column] if column in TEXTS else float(line[column] or "nan")
        except ValueError:
            raise InputError(f"{path}: {column} {line[column]!r} should be a number.") from None
        if row[column] != row[column]:  # not a number: the cell is empty
            row[column] = None
    return row
