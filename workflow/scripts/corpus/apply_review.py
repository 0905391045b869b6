"""Put what a person has corrected in a review in the place of what was extracted.

No row disappears: what was deleted goes on as a row with a reason, what was edited keeps its place
in its source and the original text, and what was added names the workbook as its source.
"""

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pyarrow as pa
from entry import SourceError
from files import ROWS, ParquetWriter, write_json
from reviewing.sheet import (
    SHEET,
    Extraction,
    Line,
    Origin,
    ReviewError,
    Workbook,
    canonical,
    numbered,
    open_review,
    pair_of,
    with_pair,
)

SHOWN = ["source", "locator", "original", "kind", "messages", "reason"]
# From so many edits on it is no coincidence that most of them are texts of other edited rows.
SCRAMBLED_FROM = 10
WAYS_OUT = (
    "Either run `snakemake review` again, which writes a new workbook and carries the edits over "
    "to it, and name that one in corpus.reviewed; or restore {source} as it was."
)


@dataclass
class Changes:
    """What a person did, by the number of the row.

    Attributes:
        edited: new question and answer.
        deleted: why, for the detail of the rejection.
        added: lines that are no row of the corpus.
    """

    edited: dict[int, tuple[str, str]] = field(default_factory=dict)
    deleted: dict[int, str] = field(default_factory=dict)
    added: list[Line] = field(default_factory=list)
    unchanged: int = 0


def check_sources(review: Path, origins: list[Origin], sources: list[dict]) -> None:
    """Refuse a review that is older than the sources.

    Args:
        review: path of the workbook, for messages.
        origins: what it was made from.
        sources: what ingest.py counted.

    Raises:
        ReviewError: a source differs from the one that was reviewed, or is gone.
    """
    present = {source["source"]: source for source in sources}
    for origin in origins:
        source = present.get(origin.source)
        if source is None:
            raise ReviewError(
                f"{review}: was made from {origin.source} too, which is no longer in "
                f"corpus.sources. {WAYS_OUT.format(source=f'{origin.source} there')}"
            )
        if source["sha256"] != origin.sha256:
            raise ReviewError(
                f"{review}: is older than {origin.source}, which has changed since the review was "
                f"written. {WAYS_OUT.format(source=origin.source)}"
            )
    known = {origin.source for origin in origins}
    for name in present.keys() - known:
        print(f"{name}: is not part of {review}; its rows go on without review")


def compare(rows: Path, workbook: Workbook, origins: list[Origin]) -> Changes:
    """Find what was changed.

    Args:
        rows: parquet file of the schema `files.ROWS`.
        workbook: the edited review.
        origins: what it was made from.

    Raises:
        ReviewError: other rows were extracted than those of the review, or a line is no row of it.
    """
    copies: dict[int, list[Line]] = {}
    changes, extraction, misplaced = Changes(), Extraction(), None
    new = []
    for line in workbook.lines():
        if line.number is None:
            new.append(line)
        else:
            copies.setdefault(line.number, []).append(line)
    moved = {"question": ([], []), "answer": ([], [])}
    for numbers, batch in numbered(rows, {o.source: o.first for o in origins}, SHOWN):
        for number, row in zip(numbers, batch.to_pylist(), strict=True):
            if number is None or (pair := pair_of(row)) is None:
                continue
            extraction.add(number, row, pair)
            lines = copies.pop(number, [])
            # of several copies the untouched one is the row, the others are new
            lines.sort(key=lambda line: (line.differs(pair), line.line))
            changes.added += lines[1:]
            if not lines:
                changes.deleted[number] = "its line was removed from the sheet"
                continue
            line = lines[0]
            misplaced = misplaced or _misplaced(line, row)
            if line.delete:
                changes.deleted[number] = line.note
            elif line.differs(pair):
                changes.edited[number] = line.pair
                for (before, after), old, text in zip(moved.values(), pair, line.pair, strict=True):
                    if canonical(old) != canonical(text):
                        before.append(canonical(old))
                        after.append(canonical(text))
            else:
                changes.unchanged += 1
    _check_extraction(workbook.path, extraction, origins)
    if misplaced:
        raise ReviewError(f"{workbook.path}: {misplaced}")
    if copies:
        line = min((line for lines in copies.values() for line in lines), key=lambda it: it.line)
        raise ReviewError(
            f"{workbook.path}: {SHEET} line {line.line}: there is no row {line.number} in the "
            "review. Put the right number back, or empty the cell if the line is a new question."
        )
    for name, (before, after) in moved.items():
        _check_scrambled(workbook.path, name, before, after)
    changes.added = sorted(changes.added + new, key=lambda line: line.line)
    return changes


def _misplaced(line: Line, row: dict) -> str | None:
    for name in ("source", "locator"):
        found = line.cells.get(name)
        # a copy that a person filled in anew may have lost them
        if found and canonical(found) != canonical(row[name]):
            return (
                f"{SHEET} line {line.line}: row {line.number} has the {name} {row[name]!r}, but "
                f"the line says {found!r}: the columns were not moved together. Undo the last "
                "sorting or filling, and sort with all columns selected."
            )
    return None


def _check_extraction(review: Path, extraction: Extraction, origins: Iterable[Origin]) -> None:
    for origin in origins:
        if extraction.of(origin.source) != origin.extraction:
            raise ReviewError(
                f"{review}: other rows are extracted from {origin.source} now than when the review "
                "was written, though the file is the same: its options in corpus.sources have "
                "changed, or the version of this workflow has. "
                + WAYS_OUT.format(source=f"the options of {origin.source}")
            )


def _check_scrambled(review: Path, name: str, before: list[str], after: list[str]) -> None:
    same = (Counter(before) & Counter(after)).total()
    if same >= SCRAMBLED_FROM and same > len(after) / 2:
        raise ReviewError(
            f"{review}: of {len(after):,} edits in the column {name!r}, {same:,} are the {name} of "
            "another row: the column was sorted or filled without the others. Undo that, and sort "
            "with all columns selected."
        )


def write_reviewed(
    rows: Path, origins: list[Origin], changes: Changes, review: Path, reviewed: Path
) -> None:
    """Write the rows with the changes made; those that were added come last.

    Args:
        rows: parquet file of the schema `files.ROWS`.
        origins: what the review was made from.
        changes: result of `compare`.
        review: path of the workbook, the source of added rows.
        reviewed: parquet file of the schema `files.ROWS` to write.
    """
    touched = changes.edited.keys() | changes.deleted.keys()
    with ParquetWriter(reviewed, ROWS) as writer:
        for numbers, batch in numbered(rows, {o.source: o.first for o in origins}):
            if touched.isdisjoint(numbers):
                writer.write_batch(batch)
                continue
            changed = [
                _changed(row, number, changes)
                for number, row in zip(numbers, batch.to_pylist(), strict=True)
            ]
            writer.write_batch(pa.RecordBatch.from_pylist(changed, schema=ROWS))
        empty = dict.fromkeys(ROWS.names)
        for line in changes.added:
            row = empty | {
                "source": str(review),
                "locator": f"{SHEET}!A{line.line}",
                "original": orjson.dumps(line.cells).decode(),
                "reviewed": "added",
            }
            row = with_pair(row, *line.pair)
            writer.write(_deleted(row, line.note) if line.delete else row)


def _changed(row: dict, number: int | None, changes: Changes) -> dict:
    if number in changes.edited:
        return with_pair(row, *changes.edited[number]) | {"reviewed": "edited"}
    if number in changes.deleted:
        return _deleted(row, changes.deleted[number])
    return row


def _deleted(row: dict, why: str) -> dict:
    return row | {"reason": "deleted_in_review", "detail": why}


def apply_review(rows: Path, counts: dict, review: Path, reviewed: Path) -> dict:
    """Make the rows that replace rows.parquet.

    Args:
        rows: parquet file of the schema `files.ROWS`.
        counts: what ingest.py counted.
        review: the edited workbook.
        reviewed: parquet file of the schema `files.ROWS` to write.

    Returns:
        The counts with the workbook as one more source, and "review".

    Raises:
        ReviewError: the review cannot be applied; nothing is written.
        SourceError: its file cannot be read.
    """
    with open_review(review) as workbook:
        origins = workbook.origin()
        check_sources(review, origins, counts["sources"])
        changes = compare(rows, workbook, origins)
    write_reviewed(rows, origins, changes, review, reviewed)
    total = sum(source["rows"] - source["not_sampled"] for source in counts["sources"])
    seen = changes.unchanged + len(changes.edited) + len(changes.deleted)
    with review.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    added = {
        "source": str(review),
        "sha256": sha256,
        "rows": len(changes.added),
        "blank": workbook.blank,
        "repaired": 0,
        "not_sampled": 0,
        "facts": {},
    }
    return {
        **counts,
        "sources": [*counts["sources"], added],
        "review": {
            "unchanged": changes.unchanged,
            "edited": len(changes.edited),
            "deleted": len(changes.deleted),
            "added": len(changes.added),
            "not_reviewed": total - seen,
        },
    }


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=Path, required=True, help="parquet file from ingest.py")
    parser.add_argument("--counts", type=Path, required=True, help="json file from ingest.py")
    parser.add_argument("--review", type=Path, required=True, help="the edited workbook")
    parser.add_argument("--reviewed", type=Path, required=True, help="parquet file to write")
    parser.add_argument("--counts-out", type=Path, required=True, help="json file to write")
    args = parser.parse_args(argv)
    counts = json.loads(args.counts.read_text(encoding="utf-8"))
    try:
        counts = apply_review(args.rows, counts, args.review, args.reviewed)
    except SourceError as error:
        sys.exit(f"apply_review: {error}")
    for name, number in counts["review"].items():
        print(f"{name}: {number:,}")
    write_json(args.counts_out, counts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
