"""The table of measurements, and scripts that measure one model in a process of their own.

Standard library only: of each environment that measures something there is a script that imports
this.
"""

import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

COLUMNS = (
    *("variant", "format", "device", "kv_bits", "kv_share", "disk_bytes", "weight_bytes"),
    *("cache_bytes", "cache_tokens", "start_bytes", "peak_bytes"),
    *("prompt_tokens", "prefill_tokens_per_s", "prefill_slowest", "prefill_fastest"),
    *("decode_tokens_per_s", "decode_slowest", "decode_fastest", "repetitions"),
    *("threads", "machine", "note"),
)


class MeasurementError(RuntimeError):
    """A model could not be measured; the message says why."""


def disk_bytes(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measured(
    command: Sequence[str | Path], seconds: float | None = None
) -> tuple[dict[str, Any], str]:
    """What a script measures, and what it has said on stdout.

    Args:
        command: the script and its options. It is also given `--output`, for a JSON object of
            columns, where "prefill" and "decode" are tokens per second of each repetition.
        seconds: after so long it is ended.

    Raises:
        MeasurementError: it has failed, or was ended.
    """
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "measured.json")
        try:
            process = subprocess.run(
                [sys.executable, *command, "--output", output],
                stdout=subprocess.PIPE,
                text=True,
                errors="replace",
                env=environment,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            raise MeasurementError(f"it was ended after {seconds:g} s") from None
        print(process.stdout, end="", flush=True)
        if process.returncode != 0:
            raise MeasurementError(f"exit code {process.returncode}; its own message is above")
        found = json.loads(output.read_text(encoding="utf-8"))
    prefill, decode = found.pop("prefill"), found.pop("decode")
    repetitions = {"repetitions": min(len(prefill), len(decode))}
    columns = found | _summary("prefill", prefill) | _summary("decode", decode) | repetitions
    return columns, process.stdout


def _summary(name: str, values: Sequence[float]) -> dict[str, str]:
    """The columns of a speed in tokens per second: median, slowest, fastest."""
    return {
        f"{name}_tokens_per_s": f"{statistics.median(values):.4g}",
        f"{name}_slowest": f"{min(values):.4g}",
        f"{name}_fastest": f"{max(values):.4g}",
    }


def write_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Measure, as `rows` are asked for, show each in the log, and write them all."""
    found = []
    for row in rows:
        found.append(row)
        print(json.dumps(row), flush=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(found)
