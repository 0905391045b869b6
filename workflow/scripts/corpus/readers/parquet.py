"""Parquet files: a row of the table is a row of the corpus."""

import datetime
import decimal
from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from entry import Entry, SourceError

from .encoding import KEEP, escaped

# Rows held at a time: few, as a text of a megabyte may be stored once and used in each of them.
BATCH = 64
# Texts pack up to about 100:1.
MAX_RATIO = 1000
RATIO_APPLIES_FROM = 64 * 2**20


class ParquetReader:
    """Rows as mappings from the name of a column to its value; dates and decimals as texts."""

    def __init__(self, path: Path, options: dict):
        self.path = path
        self.blank = 0
        self.facts: dict[str, str | int] = {}

    def __iter__(self) -> Iterator[Entry]:
        try:
            with pq.ParquetFile(self.path) as file:
                self._check(file)
                number, size = 0, 0
                for batch in file.iter_batches(batch_size=BATCH):
                    for values in self._rows(batch):
                        number += 1
                        for entry in self._entry(f"row {number}", values):
                            size += len(entry.original)
                            yield entry
                    self._check_size(size)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise SourceError(
                f"{self.path}: is damaged, encrypted or not a parquet file ({error}). "
                "Write it again with pandas or pyarrow, without encryption."
            ) from error

    def _check(self, file: pq.ParquetFile) -> None:
        names = file.schema_arrow.names
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise SourceError(
                f"{self.path}: several columns have the name {', '.join(map(repr, twice))}. "
                "Give each column a name of its own."
            )
        metadata = file.metadata
        groups = map(metadata.row_group, range(metadata.num_row_groups))
        # a row takes a byte at least, if only of the time to read it
        self._check_size(max(metadata.num_rows, sum(group.total_byte_size for group in groups)))

    def _check_size(self, size: int) -> None:
        packed = self.path.stat().st_size
        if size > RATIO_APPLIES_FROM and size / packed > MAX_RATIO:
            raise SourceError(
                f"{self.path}: {packed:,} bytes unpack to more than {size:,}, which looks like a "
                "zip bomb. Check where the file comes from."
            )

    def _rows(self, batch: pa.RecordBatch) -> Iterator[dict | pa.RecordBatch]:
        """The rows; one whose text is not UTF-8 as a batch of its own."""
        try:
            yield from batch.to_pylist()
        except UnicodeDecodeError:
            for index in range(batch.num_rows):
                row = batch.slice(index, 1)
                try:
                    yield row.to_pylist()[0]
                except UnicodeDecodeError:
                    yield row

    def _entry(self, place: str, row: dict | pa.RecordBatch) -> Iterator[Entry]:
        if isinstance(row, pa.RecordBatch):
            shown = {name: _shown(row.column(name)) for name in row.schema.names}
            original = orjson.dumps(shown).decode()
            yield Entry(place, original, reason="undecodable", detail="has text that is not UTF-8")
            return
        if not any(value not in (None, "") for value in row.values()):
            self.blank += 1
            return
        try:
            original = orjson.dumps(row, option=orjson.OPT_PASSTHROUGH_DATETIME).decode()
        except TypeError:
            row = _plain(row)
            original = orjson.dumps(row).decode()
        yield Entry(place, original, row)


def _shown(column: pa.Array) -> str:
    try:
        return str(column[0].as_py())
    except UnicodeDecodeError:
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            return "(nested text that is not UTF-8)"
        return _from_bytes(column.cast(pa.large_binary())[0].as_py())


def _plain(value: object) -> object:
    """A value in what JSON has."""
    match value:
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case bytes():
            return _from_bytes(value)
        case datetime.date() | datetime.time() | datetime.timedelta() | decimal.Decimal():
            return str(value)
    return value


def _from_bytes(data: bytes) -> str:
    return escaped(data.decode("utf-8", KEEP))
