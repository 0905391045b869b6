"""Decide which rows become records, and which side of the split each record is on.

A row is rejected for what it says itself (rules.py), because others say the same or contradict it
(duplicates.py, near_duplicates.py), or because it gives away a question of the test
(contamination.py). The rest are records: trained on, or held out (split.py).
"""

import argparse
import functools
import json
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from cleaning.cleaner import TEXT, Cleaning, Table, work
from cleaning.contents import trimmed
from cleaning.judge import Judged
from cleaning.keys import hexadecimal
from cleaning.rejected import RejectedWriter
from cleaning.rows import groups
from cleaning.rules import CleanError, Rules
from cleaning.split import EITHER, explicit_groups
from cleaning.verdicts import KEPT, REASONS, UNUSABLE, Verdicts
from files import RECORDS, ParquetWriter
from progress import Progress
from workers import Workers

TEMPORARY = ".clean-"

# Rows that are written at a time; few, as their originals are in memory, too.
WRITTEN = 2_000


def write(
    cleaning: Cleaning, rows: Table, verdicts: Verdicts, records: Path, rejected: RejectedWriter
) -> Counter:
    """Write records and rejected rows; returns how many of each side and for each reason."""
    counts: Counter = Counter()
    details, problems = verdicts.details(), cleaning.problems()
    columns = ["source", "locator", *CONTENT_NAMES, "meta"]
    total = sum(group.rows for group in rows.groups)
    with (
        ParquetWriter(records, RECORDS) as writer,
        Progress(label="writing records", total_rows=total) as progress,
    ):
        for group in rows.groups:
            codes = verdicts.codes[group.first : group.first + group.rows]
            all_kept = not codes.any()
            for first, batch in group.batches(
                columns if all_kept else [*columns, "original"], WRITTEN
            ):
                codes = verdicts.codes[first : first + batch.num_rows]
                kept = np.flatnonzero(codes == KEPT)
                if len(kept):
                    writer.write_batch(_records(batch, kept, first, rows.judged, verdicts, counts))
                lost = np.flatnonzero(codes)
                if len(lost):
                    gone = batch.select(["source", "locator", "original"])
                    for row, fields in zip(
                        (lost + first).tolist(),
                        gone.take(pa.array(lost)).to_pylist(),
                        strict=True,
                    ):
                        if verdicts.codes[row] == UNUSABLE:
                            number, reason, detail = next(problems)
                            if number != row:
                                raise RuntimeError(f"row {row} has no reason")
                        else:
                            reason, detail = REASONS[int(verdicts.codes[row])], details.of(row)
                        counts[reason] += 1
                        rejected.write(
                            {
                                "source": fields["source"],
                                "locator": fields["locator"],
                                "reason": reason,
                                "detail": detail,
                                "original": fields["original"],
                            }
                        )
                progress.update(rows=batch.num_rows)
    return counts


CONTENT_NAMES = ["kind", "messages", "chosen", "rejected", "text", "options"]


def _records(
    batch: pa.RecordBatch,
    kept: np.ndarray,
    first: int,
    judged: Judged,
    verdicts: Verdicts,
    counts: Counter,
) -> pa.RecordBatch:
    """Records from the kept rows of a batch."""
    if len(kept) < batch.num_rows:
        batch = batch.take(pa.array(kept))
    batch = trimmed(batch)
    rows = kept + first
    heldout = verdicts.heldout[rows]
    counts["train"] += int((~heldout).sum())
    counts["heldout"] += int(heldout.sum())
    groups = explicit_groups(judged.keys.groups[rows], judged.given[rows])
    columns = {name: batch.column(name) for name in ("source", "locator", *CONTENT_NAMES)}
    columns["id"] = pa.array(hexadecimal(judged.keys.ids[rows]))
    columns["group"] = pa.array(hexadecimal(groups))
    sides = heldout.astype(np.int32)
    columns["split"] = pa.DictionaryArray.from_arrays(sides, ["train", "heldout"])
    columns["meta"] = batch.column("meta").fill_null("{}")
    return pa.RecordBatch.from_arrays([columns[name] for name in RECORDS.names], schema=RECORDS)


def _check_sides(counts: Counter, judged: Judged, verdicts: Verdicts, heldout: float) -> None:
    kept = counts["train"] + counts["heldout"]
    if not kept:
        reasons = ", ".join(f"{number} {name}" for name, number in counts.most_common() if number)
        raise CleanError(
            f"none of the rows is usable ({reasons or 'the sources are empty'}). Check the files, "
            "the columns in corpus.sources and the limits in corpus.clean."
        )
    records = verdicts.codes == KEPT
    number = len(np.unique(judged.keys.groups[records & (judged.keys.kinds != TEXT)]))
    advice = (
        f"the {kept} usable rows have {number} different answer{'' if number == 1 else 's'}, and "
        "questions with the same answer stay together. Add data with other answers, or change "
        "corpus.split.heldout or corpus.split.seed"
    )
    if not counts["train"]:
        raise CleanError(f"corpus.split.heldout: {heldout:g} leaves nothing to train on: {advice}.")
    asks = records & (judged.keys.kinds != TEXT) & (judged.given == EITHER)
    if not counts["heldout"] and heldout > 0 and asks.any():
        raise CleanError(f"corpus.split.heldout: {heldout:g} holds out no question: {advice}.")


@dataclass(frozen=True)
class Outputs:
    """The files to write: parquet of the schema `files.RECORDS`, JSON lines and CSV."""

    records: Path
    rejected: Path
    table: Path


def clean(
    rows: Path,
    rules: Rules,
    split: dict,
    outputs: Outputs,
    against: Path | None = None,
    threads: int = 1,
) -> Counter:
    """Write the records and the rejected rows.

    Args:
        rows: parquet file of the schema `files.ROWS`.
        rules: what makes a row unusable.
        split: "heldout", the share of the groups or the number of questions to hold out, and
            "seed", which draws the groups.
        outputs: files to write.
        against: file of the schema `files.ROWS` whose questions must not be trained on.
        threads: number of processes; the result does not depend on it.

    Returns:
        How many records are on each side and how many rows were rejected for each reason.

    Raises:
        CleanError: nothing is left on one of the sides, or a benchmark has unreadable rows.
    """
    heldout, seed = split["heldout"], split["seed"]
    number = 1 if len(groups(rows)) == 1 else threads
    for left in outputs.records.parent.glob(f"{TEMPORARY}*"):
        shutil.rmtree(left)  # by a run that was killed; Snakemake lets no two run at a time
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=outputs.records.parent) as folder:
        # the workers end, and with them what they hold, before anything is written
        with Workers(functools.partial(work, rules, seed), number) as workers:
            cleaning = Cleaning(rules, heldout, Path(folder), workers)
            benchmark = against and cleaning.read_benchmarks(against)
            table = cleaning.read(rows)
            verdicts = cleaning.decide(table, benchmark)
        with RejectedWriter(outputs.rejected, outputs.table) as writer:
            counts = write(cleaning, table, verdicts, outputs.records, writer)
    _check_sides(counts, table.judged, verdicts, heldout)
    return counts


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=Path, required=True, help="parquet file from ingest.py")
    parser.add_argument("--rules", type=json.loads, required=True, help="corpus.clean as JSON")
    parser.add_argument(
        "--split", type=json.loads, required=True, help='JSON of "heldout" and "seed"'
    )
    parser.add_argument(
        "--against", type=Path, nargs="?", help="parquet file of questions not to be trained on"
    )
    parser.add_argument("--records", type=Path, required=True, help="parquet file to write")
    parser.add_argument("--rejected", type=Path, required=True, help="JSON lines to write")
    parser.add_argument("--rejected-table", type=Path, required=True, help="CSV file to write")
    parser.add_argument("--threads", type=int, default=1, help="number of processes")
    args = parser.parse_args(argv)
    try:
        rules = Rules.from_config(args.rules)
        counts = clean(
            args.rows,
            rules,
            args.split,
            Outputs(args.records, args.rejected, args.rejected_table),
            args.against,
            args.threads,
        )
    except (CleanError, pa.ArrowInvalid) as error:
        sys.exit(f"clean: {error}")
    for name, number in counts.items():
        print(f"{name}: {number:,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
