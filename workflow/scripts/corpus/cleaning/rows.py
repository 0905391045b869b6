"""The rows of a parquet file by row group, so that several processes can share the work."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from files import BATCH


@dataclass(frozen=True, slots=True)
class Group:
    """A row group: its number, its first row and how many rows it has."""

    path: Path
    number: int
    first: int
    rows: int

    def batches(
        self, columns: list[str] | None, most: int = BATCH
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Number of the first row, and the rows, so many at a time at most."""
        first = self.first
        # read in pieces that stay in the processor's cache: fresh memory takes longer than reading
        with pq.ParquetFile(self.path, pre_buffer=False, buffer_size=2**16) as file:
            for batch in file.iter_batches(most, row_groups=[self.number], columns=columns):
                yield first, batch
                first += batch.num_rows


def groups(path: Path) -> list[Group]:
    """The row groups of a parquet file."""
    with pq.ParquetFile(path) as file:
        sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    firsts = np.cumsum([0, *sizes]).tolist()
    return [Group(path, n, firsts[n], size) for n, size in enumerate(sizes)]


# So much of what another row says is quoted.
QUOTED = 200


class Places:
    """Where certain rows are, and what they say."""

    def __init__(
        self, path: Path, wanted: np.ndarray, says: Callable[[dict], str | None] | None = None
    ):
        """Look the rows up.

        Args:
            path: file of the schema `files.ROWS`.
            wanted: numbers of the rows.
            says: what to quote of a row of the columns kind, messages, options and text.
        """
        self._wanted = np.unique(wanted)
        columns = ["source", "locator"]
        if says:
            columns += ["kind", "messages", "options", "text"]
        places, quotes = [], []
        for group in groups(path):
            if not len(self._between(group.first, group.rows)):
                continue
            for first, batch in group.batches(columns):
                here = self._between(first, batch.num_rows)
                found = batch.take(pa.array(here - first)).to_pylist()
                places.append(pa.array([f"{r['source']}, {r['locator']}" for r in found]))
                quotes.append(pa.array([_quote(says(r)) if says else "" for r in found]))
        self._places = pa.chunked_array(places, pa.string()).combine_chunks()
        self._quotes = pa.chunked_array(quotes, pa.string()).combine_chunks()

    def _between(self, first: int, rows: int) -> np.ndarray:
        low, high = np.searchsorted(self._wanted, [first, first + rows])
        return self._wanted[low:high]

    def place(self, row: int) -> str:
        """Source and locator of a row."""
        return self._places[int(np.searchsorted(self._wanted, row))].as_py()

    def quote(self, row: int) -> str:
        """What a row says, between quotation marks."""
        return self._quotes[int(np.searchsorted(self._wanted, row))].as_py()


def _quote(text: str | None) -> str:
    text = (text or "").strip()
    return repr(text if len(text) <= QUOTED else text[:QUOTED] + "…")
