"""Account for every row of the sources, from the files that the corpus stage has written.

Nothing is taken over from the counters of the earlier steps but how many rows were read: the rest
is counted anew in the finished files, and if the sums do not agree the rule fails.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from files import read_jsonl, read_parquet, write_json
from normalise import normalise

CHECKED = {
    "rows": "rows read = kept + rejected, for each source and in total",
    "split": "no group has records on both sides",
    "leaked": "no held-out question and no held-out answer occurs in train.jsonl",
    "files": "train.jsonl and heldout.jsonl hold one line for each record of their side; every "
    "recalled question and every calibration conversation is trained on",
}


class LedgerError(Exception):
    """The sums do not agree: a row was lost or counted twice."""


def count_rows(sources: list[dict], records: Path, rejected: Path) -> tuple[list[dict], dict]:
    """What became of the rows, per source and in total.

    Args:
        sources: what ingest.py counted, {"source", "sha256", "rows", "blank"} each.
        records: the kept rows.
        rejected: the rejected rows.

    Raises:
        LedgerError: a source does not add up.
    """
    kept = Counter(record["source"] for record in read_parquet(records, ["source"]))
    reasons: dict[str, Counter] = {}
    for row in read_jsonl(rejected):
        reasons.setdefault(row["source"], Counter())[row["reason"]] += 1
    entries = []
    for source in sources:
        name = source["source"]
        entry = {
            **source,
            "kept": kept.pop(name, 0),
            "rejected": dict(sorted(reasons.pop(name, Counter()).items())),
        }
        _check_sum(name, entry)
        entries.append(entry)
    if strangers := sorted({*kept, *reasons}):
        raise LedgerError(f"rows of sources that were never read: {', '.join(strangers)}")
    rejected_in_all = sum((Counter(entry["rejected"]) for entry in entries), Counter())
    total = {
        **{key: sum(entry[key] for entry in entries) for key in ("rows", "blank", "kept")},
        "rejected": dict(sorted(rejected_in_all.items())),
    }
    _check_sum("total", total)
    return entries, total


def _check_sum(name: str, entry: dict) -> None:
    rejected = sum(entry["rejected"].values())
    if entry["rows"] != entry["kept"] + rejected:
        raise LedgerError(
            f"{name}: {entry['rows']} rows were read, but {entry['kept']} kept and {rejected} "
            f"rejected make {entry['kept'] + rejected}"
        )


def count_split(records: Path) -> dict:
    """Records and groups of each side.

    Raises:
        LedgerError: a group is on both sides.
    """
    sizes: Counter = Counter()
    sides: dict[str, str] = {}
    for record in read_parquet(records, ["group", "split"]):
        sizes[record["split"]] += 1
        if sides.setdefault(record["group"], record["split"]) != record["split"]:
            raise LedgerError(f"the group {record['group']} is on both sides of the split")
    groups = Counter(sides.values())
    return {
        "train": sizes["train"],
        "heldout": sizes["heldout"],
        "groups_train": groups["train"],
        "groups_heldout": groups["heldout"],
    }


def check_files(files: dict[str, Path], split: dict) -> dict:
    """Number of lines of each file, after a look at what is in them.

    Args:
        files: path by name, of train.jsonl, heldout.jsonl, recall.jsonl, heldout_mcq.jsonl and
            calibration.jsonl.
        split: result of `count_split`.

    Raises:
        LedgerError: a line too many or too few, or held-out text among the training text.
    """
    train = {
        (normalise(turn["input"]), normalise(turn["output"]))
        for row in read_jsonl(files["train.jsonl"])
        for turn in row["conversation"]
    }
    counts = {name: sum(1 for _ in read_jsonl(path)) for name, path in files.items()}
    for name, side in (("train.jsonl", "train"), ("heldout.jsonl", "heldout")):
        if counts[name] != split[side]:
            raise LedgerError(f"{name} has {counts[name]} lines for {split[side]} records")
    questions, answers = {question for question, _ in train}, {answer for _, answer in train}
    for row in read_jsonl(files["heldout.jsonl"]):
        if normalise(row["question"]) in questions or normalise(row["answer"]) in answers:
            raise LedgerError(f"the held-out question {row['question']!r} leaks into training")
    recalled = ((row["question"], row["answer"]) for row in read_jsonl(files["recall.jsonl"]))
    calibrating = (
        [turn["content"] for turn in row["messages"] if turn["role"] != "system"]
        for row in read_jsonl(files["calibration.jsonl"])
    )
    for name, pairs in (("recall.jsonl", recalled), ("calibration.jsonl", calibrating)):
        for question, answer in pairs:
            if (normalise(question), normalise(answer)) not in train:
                raise LedgerError(f"{name}: {question!r} is not trained on")
    return counts


def as_text(entries: list[dict], total: dict) -> str:
    """The rows of the ledger as a table to read in the log."""
    named = [*((entry["source"], entry) for entry in entries), ("total", total)]
    lines = []
    for name, entry in named:
        rejected = sum(entry["rejected"].values())
        lines.append(
            f"{name}: {entry['rows']:,} rows = {entry['kept']:,} kept + {rejected:,} rejected"
        )
        lines += [f"    {number:>8,} {reason}" for reason, number in entry["rejected"].items()]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=Path, required=True, help="json file from ingest.py")
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--rejected", type=Path, required=True)
    parser.add_argument(
        "--files",
        type=Path,
        nargs=5,
        required=True,
        help="train, heldout, recall, heldout_mcq and calibration.jsonl",
    )
    parser.add_argument("--ledger", type=Path, required=True, help="json file to write")
    args = parser.parse_args(argv)
    try:
        sources = json.loads(args.counts.read_text(encoding="utf-8"))
        entries, total = count_rows(sources, args.records, args.rejected)
        split = count_split(args.records)
        files = check_files({path.name: path for path in args.files}, split)
    except LedgerError as error:
        sys.exit(
            f"ledger: {error}. This is a fault of the workflow, not of the data: please report it "
            "with the sources."
        )
    print(as_text(entries, total))
    write_json(
        args.ledger,
        {
            "sources": entries,
            "total": total,
            "split": {**split, "leaked": 0},
            "mcq_skipped": files["heldout.jsonl"] - files["heldout_mcq.jsonl"],
            "files": files,
            "checked": CHECKED,
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
