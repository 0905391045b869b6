"""Read the sources of a corpus row by row.

Every row that is not blank goes on, also those that a reader could not take apart: whether a row
is kept is decided, and counted, in one place (clean.py).
"""

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from batches import Batch
from files import ROWS, ParquetWriter, write_json
from progress import Progress
from readers import SourceError, open_source
from readers.jsonl import JsonlReader, blocks
from shapes import Shape
from workers import WorkerError, Workers


@dataclass(frozen=True)
class Part:
    """What a worker reads at a time: a source as a whole, or a block of its JSON lines."""

    source: int
    block: tuple[int, int, int] | None = None  # start and length in bytes, number of its first line
    encoding: str = ""


@dataclass(frozen=True)
class Done:
    """What a worker reports when a part is read."""

    bytes: int
    blank: int
    facts: dict
    fields: tuple[str, ...]  # names of all fields that were seen


class Ingest:
    """The sources of a corpus, as they are read."""

    def __init__(self, sources: list[dict]):
        """Look at what the configuration says about them.

        Raises:
            SourceError: a mapping or template is wrong, or a file is missing.
        """
        self._sources = sources
        self._shapes = [Shape(source) for source in sources]
        self._readers = [open_source(source) for source in sources]
        self._digests: dict[str, str] = {}

    def write(self, rows: Path, threads: int) -> list[dict]:
        """Read the sources into one parquet file of the schema `files.ROWS`.

        Args:
            rows: the parquet file to write.
            threads: how many processes share the reading; the result does not depend on it.

        Returns:
            One entry per file, {"source", "sha256", "rows", "blank", "repaired", "facts"};
            several sources in one file (sheets of a workbook) are counted together.

        Raises:
            SourceError: a source cannot be read.
            WorkerError: a worker was killed.
        """
        size = sum(os.path.getsize(source["path"]) for source in self._sources)
        counts = [{"rows": 0, "blank": 0, "repaired": 0, "facts": {}} for _ in self._sources]
        fields: list[dict] = [{} for _ in self._sources]
        with (
            Workers(self._read, threads) as workers,
            Progress(label="reading", total_bytes=size) as progress,
            ParquetWriter(rows, ROWS) as writer,
        ):
            for number, result in workers.ordered(self._parts()):
                count = counts[number]
                if isinstance(result, Done):
                    count["blank"] += result.blank
                    count["facts"] |= result.facts
                    fields[number].update(dict.fromkeys(result.fields))
                    progress.update(bytes=result.bytes)
                else:
                    count["rows"] += result.num_rows
                    repaired = result.column("repaired")
                    count["repaired"] += len(repaired) - repaired.null_count
                    writer.write_batch(result)
                    progress.update(rows=result.num_rows)
        for source, shape, seen in zip(self._sources, self._shapes, fields, strict=True):
            shape.check(source["path"], seen)
        return self._by_file(counts)

    def _parts(self) -> Iterator[Part]:
        """What is to be read, in the order of the rows."""
        for number, (source, reader) in enumerate(zip(self._sources, self._readers, strict=True)):
            lines = JsonlReader.instead_of(reader)
            encoding = lines.encoding_of_blocks() if lines else None
            if encoding is None:
                yield Part(number)
                continue
            digest = hashlib.sha256()
            with open(source["path"], "rb") as file:
                for block in blocks(file, lines.path):
                    digest.update(block.data)
                    yield Part(number, (block.start, len(block.data), block.line), encoding)
            self._digests[source["path"]] = digest.hexdigest()

    def _read(self, part: Part) -> Iterator[tuple[int, pa.RecordBatch | Done]]:
        """Rows of a part, and at its end what else there is to say."""
        source, path = self._sources[part.source], self._sources[part.source]["path"]
        batch = Batch(path, source.get("side"), self._shapes[part.source])
        reader = self._readers[part.source]
        if part.block is None:
            for entry in reader:
                batch.add(entry)
                if batch.is_full:
                    yield part.source, batch.take()
            blank, facts, size = reader.blank, reader.facts, os.path.getsize(path)
        else:
            start, size, line = part.block
            blank = batch.add_lines(_bytes(path, start, size), line, part.encoding)
            facts = {"encoding": part.encoding}
        yield part.source, batch.take()
        yield part.source, Done(size, blank, facts, tuple(self._shapes[part.source].fields))

    def _by_file(self, counts: list[dict]) -> list[dict]:
        files: dict[str, dict] = {}
        for source, count in zip(self._sources, counts, strict=True):
            path = source["path"]
            print(f"{path}: {count['rows']:,} rows and {count['blank']:,} blank ones")
            if path not in files:
                digest = self._digests.get(path) or _sha256(path)
                files[path] = {"source": path, "sha256": digest, **count}
                continue
            entry = files[path]
            for name in ("rows", "blank", "repaired"):
                entry[name] += count[name]
            for name, fact in count["facts"].items():
                known = entry["facts"].setdefault(name, fact)
                if known != fact:
                    entry["facts"][name] = f"{known}, {fact}"
        return list(files.values())


def _bytes(path: str, start: int, size: int) -> bytes:
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        data = file.read(size)
    if len(data) != size:
        raise SourceError(f"{path}: was changed while it was read. Run again.")
    return data


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sources", type=json.loads, required=True, help="corpus.sources as JSON")
    parser.add_argument("--rows", type=Path, required=True, help="parquet file to write")
    parser.add_argument("--counts", type=Path, required=True, help="json file to write")
    parser.add_argument("--threads", type=int, default=1, help="processes that read")
    args = parser.parse_args(argv)
    started = time.perf_counter()
    try:
        counts = Ingest(args.sources).write(args.rows, args.threads)
    except (SourceError, WorkerError) as error:
        sys.exit(f"ingest: {error}")
    except OSError as error:
        sys.exit(f"ingest: {error}")
    total = sum(count["rows"] for count in counts)
    print(f"{total:,} rows in {time.perf_counter() - started:.2f} s")
    write_json(args.counts, {"sources": counts, "review": None})
    return 0


if __name__ == "__main__":
    sys.exit(main())
