"""The rows of a sample: the smallest numbers, and few more of them in memory."""

import corpus_files  # noqa: F401  finds the modules of the stage
import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

# isort: split
from sampling import SOME, Drawn, numbers_of, sequence


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 50), max_size=40), max_size=40),
    st.integers(1, 60),
)
def test_the_smallest_numbers_and_of_equal_ones_the_first(parts, size):
    drawn, rows = Drawn(size), []
    for part in parts:
        first = len(rows)
        rows += [(number, first + index) for index, number in enumerate(part)]
        kept = [row for row in rows[first:] if row[0] <= drawn.limit]
        batch = pa.RecordBatch.from_pydict({"row": pa.array([r for _, r in kept], pa.int64())})
        drawn.add(np.array([n for n, _ in kept], np.uint64), batch)
    found = [row for batch in drawn.rows() for row in batch.column("row").to_pylist()]
    assert found == sorted(row for _, row in sorted(rows)[:size])


def test_few_rows_are_held():
    drawn, most = Drawn(8_000), 0
    chance = np.random.default_rng(0)
    for _ in range(300):
        numbers = chance.integers(0, 2**63, SOME).astype(np.uint64)
        here = numbers <= drawn.limit
        drawn.add(numbers[here], pa.RecordBatch.from_pydict({"n": numbers[here]}))
        most = max(most, sum(len(numbers) for numbers, _ in drawn._parts))
    assert 8_000 < most <= 10_000 + SOME
    # 8,000 of 300,000 are one in 37
    assert drawn.limit < 2**63 / 25


def test_numbers_are_spread_evenly_and_differ_between_files_and_seeds():
    places = np.arange(100_000)
    numbers = numbers_of(42, 0, places)
    assert len(np.unique(numbers)) == len(places)
    shares = np.histogram(numbers / 2**64, bins=10, range=(0, 1))[0] / len(places)
    assert np.abs(shares - 0.1).max() < 0.005
    for seed, file in ((43, 0), (42, 1)):
        other = numbers_of(seed, file, places)
        assert abs(np.corrcoef(numbers / 2**64, other / 2**64)[0, 1]) < 0.02
    ahead = sequence(42, 0)
    assert [next(ahead) for _ in range(SOME + 5)] == numbers[: SOME + 5].tolist()
