"""Write training conversations in the form that XTuner reads, or a sample as chat messages."""

import argparse
import heapq
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
from chat_forms import CHAT_COLUMNS, CHAT_KINDS, Form, chosen, conversations, lines, openai, xtuner
from files import read_batches
from normalise import digest


def write_conversations(records: Path, out: Path, form: Form, system: str, threads: int = 1) -> int:
    """Write the conversations to train on as JSON lines; returns how many there are.

    A record's own system message takes the place of the configured one.

    Args:
        records: parquet file from clean.py.
        out: the file to write.
        form: one of chat_forms.
        system: system prompt of the conversations that have none of their own; "" for none.
        threads: how many portions are worked on at a time.
    """
    number = 0
    with out.open("wb") as file, ThreadPoolExecutor(threads) as pool:
        coming: deque[Future[memoryview]] = deque()
        for batch in conversations(records, "train"):
            number += batch.num_rows
            coming.append(pool.submit(lines, batch, form, system))
            if len(coming) > threads:
                file.write(coming.popleft().result())
        for portion in coming:
            file.write(portion.result())
    return number


def sample(records: Path, size: int, *key: str | int) -> pa.RecordBatch:
    """Conversations to train on, drawn by `draw` and in its order, with their ids."""
    numbers = draw(records, "train", size, *key)
    found = list(rows_at(records, numbers, "id"))
    order = np.argsort(np.argsort(numbers))
    return pa.concat_batches(found).take(pa.array(order))


def draw(
    records: Path, split: str, size: int, *key: str | int, kinds: Sequence[str] = CHAT_KINDS
) -> np.ndarray:
    """Row numbers of up to `size` records, drawn and ordered by a hash of key and id.

    More data displaces only what it has to, and a smaller sample is the beginning of a larger one.
    """

    def ranked() -> Iterator[tuple[str, int]]:
        first = 0
        for batch in read_batches(records, ["id", "kind", "split"]):
            numbers = np.flatnonzero(chosen(batch, split, kinds).to_numpy(zero_copy_only=False))
            ids = batch.column("id").take(pa.array(numbers)).to_pylist()
            for number, record_id in zip(numbers.tolist(), ids, strict=True):
                yield digest(*key, record_id), first + number
            first += batch.num_rows

    return np.array([number for _, number in heapq.nsmallest(size, ranked())], np.int64)


def rows_at(records: Path, numbers: np.ndarray, *columns: str) -> Iterator[pa.RecordBatch]:
    """The records of these numbers, in the order of the file, with what chat_forms needs."""
    ordered, first = np.sort(numbers), 0
    for batch in read_batches(records, [*CHAT_COLUMNS, *columns]):
        start, end = np.searchsorted(ordered, [first, first + batch.num_rows])
        yield batch.take(pa.array(ordered[start:end] - first))
        first += batch.num_rows


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=Path, required=True, help="parquet file from clean.py")
    parser.add_argument("--system", required=True, help="system prompt, may be empty")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines to write")
    parser.add_argument("--sample", type=int, help="write so many as chat messages (default: all)")
    parser.add_argument("--seed", type=int, help="draws the sample")
    parser.add_argument("--threads", type=int, default=1, help="do not change the result")
    args = parser.parse_args(argv)
    if (args.sample is None) != (args.seed is None):
        parser.error("--sample and --seed go together")
    if args.sample is None:
        number = write_conversations(args.records, args.out, xtuner, args.system, args.threads)
    else:
        drawn = sample(args.records, args.sample, "calibration", args.seed)
        args.out.write_bytes(lines(drawn, openai, args.system))
        number = drawn.num_rows
    print(f"{args.out}: {number:,} conversations")
    return 0


if __name__ == "__main__":
    sys.exit(main())
