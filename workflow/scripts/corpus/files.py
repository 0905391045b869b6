"""Reading and writing the files of the corpus stage."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

BATCH = 20_000

MESSAGES = pa.list_(pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())]))
NAME = pa.dictionary(pa.int32(), pa.string())  # of few different values

# What a row says, whatever its source looked like; `kind` tells which of the fields are filled.
CONTENT = [
    pa.field("kind", NAME),  # chat | text | preference | choice
    pa.field("messages", MESSAGES),  # chat, choice: whole; preference: the prompt
    pa.field("chosen", MESSAGES),  # preference: the better continuation
    pa.field("rejected", MESSAGES),  # preference: the worse one
    pa.field("text", pa.string()),  # text: a document to pre-train on
    pa.field("options", pa.list_(pa.string())),  # choice: the last message is one of them
]

# What ingest passes on: every row of every source that is not blank.
ROWS = pa.schema(
    [
        pa.field("source", NAME, nullable=False),
        pa.field("locator", pa.string(), nullable=False),
        pa.field("original", pa.string(), nullable=False),
        *CONTENT,
        pa.field("meta", pa.string()),  # further fields of the row, a JSON object
        pa.field("side", NAME),  # train | heldout where the configuration says so
        pa.field("repaired", NAME),  # damage that was mended: mojibake
        pa.field("reviewed", NAME),  # what a person did: edited | added
        pa.field("reason", NAME),
        pa.field("detail", pa.string()),
    ]
)

RECORDS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", NAME, nullable=False),
        pa.field("locator", pa.string(), nullable=False),
        *CONTENT,
        pa.field("group", pa.string(), nullable=False),
        pa.field("split", NAME, nullable=False),  # train | heldout
        pa.field("meta", pa.string()),
    ]
)


class ParquetWriter:
    """Writes rows, given as mappings, in batches."""

    def __init__(self, path: Path, schema: pa.Schema):
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._rows: list[dict] = []

    def write(self, row: dict) -> None:
        """Add one row."""
        self._rows.append(row)
        if len(self._rows) >= BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows.clear()

    def __enter__(self) -> "ParquetWriter":
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.closing(self._writer):
            if error[0] is None:
                self._flush()


def read_parquet(path: Path, columns: list[str] | None = None) -> Iterator[dict]:
    """Rows of a parquet file as mappings, read in batches."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BATCH, columns=columns):
            yield from batch.to_pylist()


def write_jsonl(path: Path, rows: Iterable[dict]) -> int:
    """Write rows as JSON lines in UTF-8 and return how many there were."""
    count = 0
    with path.open("wb") as file:
        for row in rows:
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            count += 1
    return count


def read_jsonl(path: Path) -> Iterator[dict]:
    """Rows of a file of JSON lines."""
    with path.open("rb") as file:
        for line in file:
            yield orjson.loads(line)


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON in UTF-8."""
    path.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
