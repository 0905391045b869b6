"""Reading and writing the files of the corpus stage."""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq


class _NoPandas:
    """Finds no pandas, whatever is installed."""

    def find_spec(self, name: str, *where: object) -> None:
        if name == "pandas":
            raise ImportError(name)


# At its first call pa.array imports pandas, to know its types: half a second in every process,
# which nothing here needs. It asks once; who imports pandas later gets it.
_no_pandas = _NoPandas()
sys.meta_path.insert(0, _no_pandas)
pa.array([])
sys.meta_path.remove(_no_pandas)

# A batch is what is held in memory at a time: so many rows, or fewer where they are long.
BATCH = 20_000
BATCH_CHARS = 16 * 2**20
GROUP_BYTES = 16 * 2**20

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
    """Writes rows, given as mappings or as record batches, and gathers them into row groups.

    Uncompressed: on texts of 1,000 Chinese characters lz4 takes twice the time for 6 % of the
    size, and zstd, at its fastest, three times the time for 40 %. Only names of few values are
    written as dictionaries, and no minima and maxima of texts.
    """

    def __init__(self, path: Path, schema: pa.Schema):
        self._schema = schema
        self._rows: list[dict] = []
        self._chars = 0
        self._batches: list[pa.RecordBatch] = []
        self._batch_bytes = self._batch_rows = 0
        names = [field.name for field in schema if field.type == NAME]
        roles = [f"{f.name}.list.element.role" for f in schema if f.type == MESSAGES]
        self._writer = pq.ParquetWriter(
            path,
            schema,
            compression="none",
            use_dictionary=names + roles,
            write_statistics=False,
        )

    def write(self, row: dict) -> None:
        """Add one row."""
        self._rows.append(row)
        self._chars += _chars(row)
        if len(self._rows) >= BATCH or self._chars >= BATCH_CHARS:
            self._gather()

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Add a batch of rows of the writer's schema."""
        self._gather()
        self._add(batch)

    def _gather(self) -> None:
        """Make a batch of the rows that were given one by one."""
        if self._rows:
            self._add(pa.RecordBatch.from_pylist(self._rows, schema=self._schema))
            self._rows.clear()
            self._chars = 0

    def _add(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)
        self._batch_bytes += batch.nbytes
        self._batch_rows += batch.num_rows
        if self._batch_bytes >= GROUP_BYTES or self._batch_rows >= BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._batch_rows:
            table = pa.Table.from_batches(self._batches, schema=self._schema)
            self._writer.write_table(table, row_group_size=self._batch_rows)
        self._batches.clear()
        self._batch_bytes = self._batch_rows = 0

    def __enter__(self) -> "ParquetWriter":
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.closing(self._writer):
            if error[0] is None:
                self._gather()
                self._flush()


def _chars(value: object) -> int:
    """Length of all texts in a value, so that long rows make small batches."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_chars, value.values()))
    return sum(map(_chars, value)) if isinstance(value, list | tuple) else 0


def read_batches(path: Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Record batches of a parquet file, in the order of its rows; none spans two row groups."""
    with pq.ParquetFile(path) as file:
        # a batch over several groups of long texts could exceed what one Arrow array can hold
        for group in range(file.num_row_groups):
            yield from file.iter_batches(batch_size=BATCH, row_groups=[group], columns=columns)


def read_parquet(path: Path, columns: list[str] | None = None) -> Iterator[dict]:
    """Rows of a parquet file as mappings, read in batches."""
    for batch in read_batches(path, columns):
        yield from batch.to_pylist()


def pack_texts(values: Sequence[bytes | None]) -> pa.StringArray:
    """A column of texts from their bytes in valid UTF-8; takes half the time of pa.array.

    >>> pack_texts([b"a", None]).to_pylist()
    ['a', None]
    """
    filled = [value or b"" for value in values]
    offsets = np.zeros(len(filled) + 1, np.int32)
    np.cumsum(np.fromiter(map(len, filled), np.int32, len(filled)), out=offsets[1:])
    there = np.fromiter((value is not None for value in values), bool, len(filled))
    return pa.StringArray.from_buffers(
        len(filled),
        pa.py_buffer(offsets),
        pa.py_buffer(b"".join(filled)),
        None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little")),
    )


def pack_messages(rows: Sequence[list[tuple[str, str]] | None]) -> pa.ListArray:
    """A column of type MESSAGES from lists of (role, content), without a dict per message.

    >>> pack_messages([[("user", "a")], None]).to_pylist()
    [[{'role': 'user', 'content': 'a'}], None]
    """
    lengths = np.fromiter((len(row) if row else 0 for row in rows), np.int32, len(rows))
    flat = list(chain.from_iterable(row for row in rows if row))
    struct = pa.StructArray.from_arrays(
        [
            pa.array([role for role, _ in flat], pa.string()),
            pa.array([content for _, content in flat], pa.string()),
        ],
        fields=list(MESSAGES.value_type),
    )
    offsets = np.zeros(len(rows) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    missing = np.fromiter((row is None for row in rows), bool, len(rows))
    mask = pa.array(missing) if missing.any() else None
    return pa.ListArray.from_arrays(pa.array(offsets), struct, type=MESSAGES, mask=mask)


def unpack_messages(column: pa.ListArray) -> list[list[tuple[str, str]] | None]:
    """Lists of (role, content) of a column of type MESSAGES; the inverse of `pack_messages`."""
    starts, roles, contents = flat_messages(column)
    pairs = list(zip(roles.to_pylist(), contents.to_pylist(), strict=True))
    bounds = starts.tolist()
    rows: list = [pairs[a:b] for a, b in pairwise(bounds)]
    if column.null_count:
        for index in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)):
            rows[index] = None
    return rows


def flat_messages(column: pa.ListArray) -> tuple[np.ndarray, pa.StringArray, pa.StringArray]:
    """The messages of all rows of a column, one after the other, without Python objects.

    Returns:
        where the messages of each row start (one number more than rows; row i has those of
        starts[i] to starts[i + 1]), the roles and the contents.
    """
    offsets = column.offsets.to_numpy()
    first, last = int(offsets[0]), int(offsets[-1])
    struct = column.values.slice(first, last - first)
    role, content = struct.flatten()
    return offsets - first, role, content


def write_jsonl(path: Path, rows: Iterable[dict]) -> int:
    """Write rows as JSON lines in UTF-8 and return how many there were."""
    count = 0
    with path.open("wb", buffering=2**20) as file:
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
