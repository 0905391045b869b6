"""Read the sources of a corpus row by row.

Every row that is not blank goes on, also those that a reader could not take apart: whether a row
is kept is decided, and counted, in one place (clean.py). Of a source with a sample only the drawn
rows go on, readable or not; the others are counted.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import compress, groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
from batches import Batch
from files import ROWS, ParquetWriter, write_json
from progress import Progress
from readers import SourceError, open_source
from readers.jsonl import JsonlReader, blocks, filled_lines
from sampling import ALL, SOME, Drawn, numbers_of, sequence
from shapes import Shape
from workers import WorkerError, Workers


@dataclass(frozen=True)
class Part:
    """What a worker reads at a time: a source as a whole, or a block of its JSON lines."""

    source: int
    block: tuple[int, int, int] | None = None  # start and length in bytes, number of its first line
    encoding: str = ""
    limit: np.uint64 | None = None  # of a sample: rows with larger numbers are not drawn


@dataclass(frozen=True)
class Done:
    """What a worker reports when a part is read."""

    bytes: int
    rows: int
    blank: int
    facts: dict
    fields: tuple[str, ...]  # names of all fields that were seen


# What a worker passes on: rows, of a sampled source with their numbers, and the end of a part.
Result = pa.RecordBatch | tuple[np.ndarray, pa.RecordBatch] | Done

COUNTED = ("rows", "blank", "repaired", "not_sampled")


class Ingest:
    """The sources of a corpus, as they are read."""

    def __init__(self, sources: list[dict], seed: int | None = None):
        """Look at what the configuration says about them.

        Args:
            sources: entries of corpus.sources, each with the path of one file. Those with equal
                `sample_of` are sampled together.
            seed: draws the samples.

        Raises:
            SourceError: a mapping or template is wrong, or a file is missing.
        """
        self._sources = sources
        self._shapes = [Shape(source) for source in sources]
        self._readers = [open_source(source) for source in sources]
        self._digests: dict[str, str] = {}
        self._seed = seed
        self._sample_of = [source.get("sample_of") for source in sources]
        self._samples = {s["sample_of"]: Drawn(s["sample"]) for s in sources if "sample" in s}

    def write(self, rows: Path, threads: int) -> list[dict]:
        """Read the sources into one parquet file of the schema `files.ROWS`.

        Args:
            rows: the parquet file to write.
            threads: how many processes share the reading; the result does not depend on it.

        Returns:
            One entry per file, {"source", "sha256", "rows", "blank", "repaired", "not_sampled",
            "facts"}; several sources in one file (sheets of a workbook) are counted together.

        Raises:
            SourceError: a source cannot be read.
            WorkerError: a worker was killed.
        """
        size = sum(os.path.getsize(source["path"]) for source in self._sources)
        counts = [dict.fromkeys(COUNTED, 0) | {"facts": {}} for _ in self._sources]
        fields: list[dict] = [{} for _ in self._sources]
        with (
            Workers(self._read, threads) as workers,
            Progress(label="reading", total_bytes=size) as progress,
            ParquetWriter(rows, ROWS) as writer,
        ):
            for number, result in self._drawn(workers.ordered(self._parts())):
                count = counts[number]
                if isinstance(result, Done):
                    count["rows"] += result.rows
                    count["not_sampled"] += result.rows
                    count["blank"] += result.blank
                    count["facts"] |= result.facts
                    fields[number].update(dict.fromkeys(result.fields))
                    progress.update(bytes=result.bytes)
                else:
                    count["not_sampled"] -= result.num_rows
                    repaired = result.column("repaired")
                    count["repaired"] += len(repaired) - repaired.null_count
                    writer.write_batch(result)
                    progress.update(rows=result.num_rows)
        for source, shape, seen in zip(self._sources, self._shapes, fields, strict=True):
            shape.check(source["path"], seen)
        return self._by_file(counts)

    def _drawn(
        self, results: Iterator[tuple[int, Result]]
    ) -> Iterator[tuple[int, pa.RecordBatch | Done]]:
        """Results of all parts; those of a sample when all of its files are read."""
        for key, some in groupby(results, lambda result: self._sample_of[result[0]]):
            if key is None:
                yield from some
                continue
            files = {}
            for number, result in some:
                files[self._sources[number]["path"]] = number
                if isinstance(result, Done):
                    yield number, result
                else:
                    self._samples[key].add(*result)
            for rows in self._samples[key].rows():
                yield files[rows.column("source")[0].as_py()], rows

    def _parts(self) -> Iterator[Part]:
        """What is to be read, in the order of the rows."""
        for number, (source, reader) in enumerate(zip(self._sources, self._readers, strict=True)):
            sample = self._samples.get(self._sample_of[number])
            lines = JsonlReader.instead_of(reader)
            encoding = lines.encoding_of_blocks() if lines else None
            if encoding is None:
                # whatever came before, so that rows are gathered in the same portions
                yield Part(number, limit=sample and ALL)
                continue
            digest = hashlib.sha256()
            with open(source["path"], "rb") as file:
                for block in blocks(file, lines.path):
                    digest.update(block.data)
                    place = (block.start, len(block.data), block.line)
                    yield Part(number, place, encoding, sample and sample.limit)
            self._digests[source["path"]] = digest.hexdigest()

    def _read(self, part: Part) -> Iterator[tuple[int, Result]]:
        """Rows of a part, and at its end what else there is to say."""
        read = self._read_block if part.block else self._read_file
        for result in read(part, Batch(self._sources[part.source], self._shapes[part.source])):
            yield part.source, result

    def _read_block(self, part: Part, batch: Batch) -> Iterator[Result]:
        start, size, line = part.block
        data = _bytes(self._sources[part.source]["path"], start, size)
        numbers, lines, blank = filled_lines(data, line, part.encoding)
        rows = len(lines)
        if part.limit is None:
            batch.add_lines(numbers, lines)
            yield batch.take()
        else:
            drawn = numbers_of(*self._draw(part.source), np.array(numbers, np.uint64))
            here = drawn <= part.limit
            batch.add_lines(list(compress(numbers, here)), list(compress(lines, here)))
            yield drawn[here], batch.take()
        yield self._done(part, size, rows, blank, {"encoding": part.encoding})

    def _read_file(self, part: Part, batch: Batch) -> Iterator[Result]:
        source, reader = self._sources[part.source], self._readers[part.source]
        rows = 0
        if part.limit is None:
            for entry in reader:
                rows += 1
                batch.add(entry)
                if batch.is_full:
                    yield batch.take()
            yield batch.take()
        else:
            sample, drawn = Drawn(source["sample"], part.limit), []
            for entry, number in zip(reader, sequence(*self._draw(part.source)), strict=False):
                rows += 1
                if number <= sample.limit:
                    drawn.append(number)
                    batch.add(entry)
                    if batch.is_full or len(drawn) == SOME:
                        sample.add(np.array(drawn))
                        yield np.array(drawn), batch.take()
                        drawn = []
            yield np.array(drawn, np.uint64), batch.take()
        size = os.path.getsize(source["path"])
        yield self._done(part, size, rows, reader.blank, reader.facts)

    def _draw(self, number: int) -> tuple[int, int]:
        """What the numbers of the rows of a sampled file depend on."""
        return self._seed, number - self._sample_of.index(self._sample_of[number])

    def _done(self, part: Part, size: int, rows: int, blank: int, facts: dict) -> Done:
        return Done(size, rows, blank, facts, tuple(self._shapes[part.source].fields))

    def _by_file(self, counts: list[dict]) -> list[dict]:
        files: dict[str, dict] = {}
        for source, count in zip(self._sources, counts, strict=True):
            path = source["path"]
            drawn = count["rows"] - count["not_sampled"]
            sampled = f", of which {drawn:,} are drawn," if "sample" in source else ""
            print(f"{path}: {count['rows']:,} rows{sampled} and {count['blank']:,} blank ones")
            if path not in files:
                digest = self._digests.get(path) or _sha256(path)
                files[path] = {"source": path, "sha256": digest, **count}
                continue
            entry = files[path]
            for name in COUNTED:
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
    parser.add_argument("--seed", type=int, help="draws the samples")
    parser.add_argument("--threads", type=int, default=1, help="processes that read")
    args = parser.parse_args(argv)
    if args.seed is None and any("sample" in source for source in args.sources):
        parser.error("--seed is needed to draw a sample")
    started = time.perf_counter()
    try:
        counts = Ingest(args.sources, args.seed).write(args.rows, args.threads)
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
