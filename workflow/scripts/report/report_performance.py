"""What the page tells of the size, memory and speed of the models."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from report_inputs import InputError, read_table

COLUMNS = (
    *("variant", "format", "disk_bytes", "weight_bytes", "start_bytes", "peak_bytes"),
    *("prompt_tokens", "prefill_tokens_per_s", "prefill_slowest", "prefill_fastest"),
    *("decode_tokens_per_s", "decode_slowest", "decode_fastest", "repetitions"),
    *("threads", "machine", "note"),
)
TEXTS = ("variant", "format", "machine", "note")
# What a row is, other than its variant and its number format tell.
HOW = {"tuned": "merged", "awq": "dequantised, as evaluated", "int4": "int4 kernel, rest bfloat16"}


def read_performance(runs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The measurements of the runs of the inventory that were measured.

    Returns:
        [{"run", "base_model", "threads", "machine", "start_bytes", "prompt_tokens",
        "rows": [{"how", column: text or number, None where nothing was measured}]}]
    """
    found = []
    for run in runs:
        if not run["performance"]:
            continue
        path = Path(run["performance"])
        rows = [_row(path, line) for line in read_table(path, COLUMNS)]
        measured = [row for row in rows if row["decode_tokens_per_s"] is not None]
        if not measured:
            raise InputError(f"{path} has no measurements. Remove it and run `snakemake` again.")
        first = measured[0]
        common = {key: first[key] for key in ("threads", "machine", "start_bytes", "prompt_tokens")}
        found.append({"run": run["name"], "base_model": run["base_model"], "rows": rows} | common)
    return found


def _row(path: Path, line: dict[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {"how": HOW.get(line["variant"], "")}
    for column in COLUMNS:
        try:
            row[column] = line[column] if column in TEXTS else float(line[column] or "nan")
        except ValueError:
            raise InputError(f"{path}: {column} {line[column]!r} should be a number.") from None
        if row[column] != row[column]:  # not a number: the cell is empty
            row[column] = None
    return row
