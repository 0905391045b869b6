"""Read the sources of a corpus row by row.

Every row that is not blank goes on, also those that a reader could not take apart: whether a row
is kept is decided, and counted, in one place (clean.py).
"""

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path

import orjson
from files import ROWS, ParquetWriter, write_json
from readers import SourceError, open_source


def ingest(sources: list[dict], rows: Path) -> list[dict]:
    """Read sources into one parquet file of the schema `files.ROWS`.

    Args:
        sources: entries of the configuration's corpus.sources.
        rows: the parquet file to write.

    Returns:
        One entry per file, {"source", "sha256", "rows", "blank"}; several sources in one file
        (sheets of a workbook) are counted together.

    Raises:
        SourceError: a source cannot be read at all.
    """
    counts: dict[str, dict] = {}
    with ParquetWriter(rows, ROWS) as writer:
        for source in sources:
            path = source["path"]
            started = time.perf_counter()
            reader = open_source(source)
            number = 0
            for row in reader:
                number += 1
                writer.write(
                    {
                        "source": path,
                        "locator": row.locator,
                        "original": row.original,
                        "question": row.question,
                        "answer": row.answer,
                        "meta": orjson.dumps(row.meta).decode() if row.meta else None,
                        "reason": row.reason,
                        "detail": row.detail,
                    }
                )
            print(
                f"{path}: {number:,} rows and {reader.blank:,} blank ones "
                f"in {time.perf_counter() - started:.2f} s"
            )
            if path not in counts:
                counts[path] = {"source": path, "sha256": _sha256(path), "rows": 0, "blank": 0}
            counts[path]["rows"] += number
            counts[path]["blank"] += reader.blank
    return list(counts.values())


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sources", type=json.loads, required=True, help="corpus.sources as JSON")
    parser.add_argument("--rows", type=Path, required=True, help="parquet file to write")
    parser.add_argument("--counts", type=Path, required=True, help="json file to write")
    args = parser.parse_args(argv)
    try:
        counts = ingest(args.sources, args.rows)
    except SourceError as error:
        sys.exit(f"ingest: {error}")
    write_json(args.counts, counts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
