"""What became of every row of the corpus, for the page and as a table of its own."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import report_inputs as inputs
from report_comparison import flat
from report_inputs import InputError
from report_numbers import spread

# What the ledger counts beside kept and rejected rows, where a domain has it.
COUNTS = {
    "not_sampled": "rows that a random sample did not draw",
    "repeated": "further copies of rows, for training",
}


# What of the held-out side could not be made into a question with options.
SKIPPED = {
    "mcq_skipped": "questions left out of heldout_mcq",
    "preference_skipped": "pairs left out of heldout_preference",
}


def read_ledger(ledger_path: Path, rejected_path: Path, per_reason: int) -> dict[str, Any]:
    """The ledger, its reasons by weight, and a few rejected rows of each reason."""
    ledger = inputs.read_json(ledger_path, ("sources", "total", "review"))
    counts: Counter[str] = Counter()
    by_source: dict[str, dict[str, int]] = {}
    for source in ledger["sources"]:
        for reason, count in source.get("rejected", {}).items():
            counts[reason] += count
            by_source.setdefault(reason, {})[source["source"]] = count
    samples = {reason: spread(range(count), per_reason) for reason, count in counts.items()}
    shown: dict[str, list[dict[str, Any]]] = {reason: [] for reason in counts}
    found: Counter[str] = Counter()
    for row in inputs.json_lines(rejected_path, ("source", "locator", "reason", "original")):
        reason = row["reason"]
        if found[reason] in samples.get(reason, ()):
            shown[reason].append(row)
        found[reason] += 1
    if found != Counter({reason: count for reason, count in counts.items() if count}):
        raise InputError(
            f"{rejected_path} and {ledger_path} disagree about the rejected rows "
            f"({found.total()} and {counts.total()}). Run the corpus stage again."
        )
    return {
        "sources": [
            source
            | {
                "rejected_rows": sum(source.get("rejected", {}).values()),
                **{count: source.get(count, 0) for count in COUNTS},
                "said": {
                    "blank rows": source["blank"],
                    "repaired rows": source["repaired"],
                    **source["facts"],
                },
            }
            for source in ledger["sources"]
        ],
        "rows": sum(source["rows"] for source in ledger["sources"]),
        "kept": sum(source["kept"] for source in ledger["sources"]),
        "rejected": found.total(),
        **{count: sum(source.get(count, 0) for source in ledger["sources"]) for count in COUNTS},
        "review": ledger["review"],
        "kinds": (split := ledger.get("split", {})).get("by_kind", {}),
        "split": flat({key: value for key, value in split.items() if key != "by_kind"})
        | {text: ledger[key] for key, text in SKIPPED.items() if ledger.get(key)},
        "checked": ledger.get("checked", {}),
        "reasons": [
            {
                "reason": reason,
                "count": count,
                "by_source": by_source[reason],
                "samples": shown[reason],
            }
            for reason, count in counts.most_common()
            if count
        ],
    }


def write_ledger_table(ledger: dict[str, Any], path: Path) -> None:
    """The ledger as CSV: source, rows, kept, rejected, other counts, a column for each reason."""
    reasons = [entry["reason"] for entry in ledger["reasons"]]
    others = [count for count in COUNTS if ledger[count]]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["source", "rows", "kept", "rejected", *others, *reasons])
        for source in ledger["sources"]:
            counts = [source["rejected"].get(reason, 0) for reason in reasons]
            total = [source["rows"], source["kept"], source["rejected_rows"]]
            more = [source[count] for count in others]
            writer.writerow([source["source"], *total, *more, *counts])
