"""Write training conversations in the form that XTuner reads, or a sample as chat messages."""

import argparse
import heapq
import json
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from chat_forms import CHAT_COLUMNS, CHAT_KINDS, Form, chosen, conversations, lines, openai, xtuner
from files import read_batches
from normalise import digest


class RepeatError(Exception):
    """There is nothing to repeat."""


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


def write_repeats(
    records: Path, out: Path, form: Form, system: str, repeats: Mapping[str, int]
) -> int:
    """Write the conversations of some sources again, behind those of `write_conversations`.

    Their order does not matter: XTuner shuffles what it trains on.

    Args:
        records, out, form, system: as of `write_conversations`.
        repeats: for each source how often its conversations are to stand in the file in all.

    Returns:
        How many lines were added.

    Raises:
        RepeatError: a source has no conversation to train on.
    """
    number, missing = 0, dict(repeats)
    with out.open("ab") as file:
        for batch in conversations(records, "train", "source"):
            for source, times in repeats.items():
                own = pc.equal(batch.column("source").cast(pa.string()), source)
                if pc.any(own).as_py():
                    again = batch.filter(own)
                    text = lines(again, form, system)
                    for _ in range(times - 1):
                        file.write(text)
                    number += (times - 1) * again.num_rows
                    missing.pop(source, None)
    if missing:
        raise RepeatError(
            f"corpus.sources: {', '.join(missing)}: there is no conversation to train on, so that "
            "`repeat:` has nothing to repeat (texts and preference pairs are not repeated). Take "
            "the key out, or see rejected.csv for what became of the rows."
        )
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
    parser.add_argument(
        "--repeats", type=json.loads, default={}, help="JSON: how often, by source, if not once"
    )
    parser.add_argument("--sample", type=int, help="write so many as chat messages (default: all)")
    parser.add_argument("--seed", type=int, help="draws the sample")
    parser.add_argument("--threads", type=int, default=1, help="do not change the result")
    args = parser.parse_args(argv)
    if (args.sample is None) != (args.seed is None):
        parser.error("--sample and --seed go together")
    if args.sample is None:
        written = (args.records, args.out, xtuner, args.system)
        number = write_conversations(*written, args.threads)
        if args.repeats:
            try:
                repeated = write_repeats(*written, args.repeats)
            except RepeatError as error:
                sys.exit(f"conversations: {error}")
            print(f"{repeated:,} of them again")
            number += repeated
    else:
        drawn = sample(args.records, args.sample, "calibration", args.seed)
        args.out.write_bytes(lines(drawn, openai, args.system))
        number = drawn.num_rows
    print(f"{args.out}: {number:,} conversations")
    return 0


if __name__ == "__main__":
    sys.exit(main())
