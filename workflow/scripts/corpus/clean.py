"""Decide which rows become records, and which side of the split each record is on.

A row is rejected for what it says itself (rules.py), because others say the same or contradict it
(duplicates.py, near_duplicates.py), or because it gives away a question of the test
(contamination.py). The rest are records: trained on, or held out (split.py).
"""

import argparse
import functools
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duplicates
import near_duplicates
import numpy as np
import orjson
import pyarrow as pa
from contamination import Questions
from contents import SAID_COLUMNS, all_texts, answer, question, questions, trimmed
from files import RECORDS, ROWS, ParquetWriter
from judge import Converter, Judge, Judged
from keys import OPTIONLESS, hexadecimal
from progress import Progress
from rejected import RejectedWriter
from rows import Group, Places, groups
from rules import CleanError, Rules
from split import EITHER, HELDOUT, explicit_groups, held_out
from workers import Workers

# What became of a row.
KEPT, UNUSABLE, CONFLICT, DUPLICATE, NEAR_DUPLICATE, CONTAMINATED = range(6)
REASONS = {
    CONFLICT: "conflicting_answers",
    DUPLICATE: "duplicate",
    NEAR_DUPLICATE: "near_duplicate",
    CONTAMINATED: "contaminated",
}
CHAT, CHOICE, PREFERENCE, TEXT = range(4)
TEXT_COLUMNS = ["messages", "chosen", "rejected", "text", "options"]


def _work(rules: Rules, seed: int, task: tuple[str, Group, Path | None]) -> Iterator:
    """What a worker process does."""
    name, group, path = task
    if name == "convert":
        yield from Converter(rules).batches(group)
    elif name == "judge":
        yield from Judge(rules, seed).batches(group)
    elif name == "benchmark":
        yield from Judge(rules, seed, benchmark=True).batches(group)
    elif name == "shingles":
        yield from _shingles(group, np.load(path, mmap_mode="r"))
    elif name == "contaminated":
        yield from _contaminated(group, path)


def _shingles(group: Group, wanted: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for first, batch in group.batches(TEXT_COLUMNS):
        here = np.flatnonzero(wanted[first : first + batch.num_rows])
        if len(here):
            found = {}
            texts = all_texts(trimmed(batch.take(pa.array(here))))
            for rows, hashes, starts in near_duplicates.long_shingles(
                texts, np.ones(len(here), bool)
            ):
                for index, row in enumerate(here[rows].tolist()):
                    found[row] = near_duplicates.distinct(hashes[starts[index] : starts[index + 1]])
            yield from ((first + row, found[row]) for row in sorted(found))


@functools.lru_cache(1)
def _load(folder: Path) -> tuple[Questions, np.ndarray]:
    return Questions.load(folder / "questions.npz"), np.load(folder / "train.npy", mmap_mode="r")


def _contaminated(group: Group, folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of the train side that give away a question, and its number."""
    asked, train = _load(folder)
    for first, batch in group.batches(TEXT_COLUMNS):
        (rows,) = np.nonzero(train[first : first + batch.num_rows])
        if len(rows):
            found, number = asked.given_away(all_texts(batch.take(pa.array(rows))))
            yield rows[found] + first, number


@dataclass
class Table:
    """What is known of all rows of a file, by number; texts stay on disk."""

    path: Path
    groups: list[Group]
    judged: Judged
    store: near_duplicates.Store | None
    shingles: near_duplicates.Shingles | None


class Cleaning:
    """One run over a file of rows.

    Memory holds some hashes of each row; texts are read again where they are needed.
    """

    def __init__(self, rules: Rules, heldout: float, seed: int, folder: Path, workers: Workers):
        """Prepare.

        Args:
            rules: what makes a row unusable.
            heldout: share of the groups to hold out, or from 1 on a number of questions.
            seed: draws the groups that are held out.
            folder: for files that are needed meanwhile.
            workers: of `_work` with the same rules and seed.
        """
        self._rules, self._heldout = rules, heldout
        self._threshold = rules.near_duplicates
        self._folder, self._workers = folder, workers

    def read(self, path: Path, name: str, task: str, label: str) -> Table:
        """Judge each row for itself and note what is needed to compare it with others."""
        rules = self._rules
        if rules.width != "keep" or rules.chinese != "keep":
            path = self._convert(path, name)
        found, store = groups(path), None
        if rules.near_duplicates is not None:
            folder = self._folder / name
            folder.mkdir()
            store = near_duplicates.Store(
                folder, near_duplicates.bands_for(rules.near_duplicates)[0]
            )
        parts, first = [], 0
        with (
            Progress(label=label, total_rows=sum(group.rows for group in found)) as progress,
            (self._folder / f"{name}.problems").open("wb") as problems,
        ):
            tasks = ((task, group, None) for group in found)
            for judged, unusable, signatures in self._workers.ordered(tasks):
                parts.append(judged)
                for row, reason, detail in unusable:
                    problem = [first + row, reason, detail]
                    problems.write(orjson.dumps(problem, option=orjson.OPT_APPEND_NEWLINE))
                if store and signatures is not None:
                    store.add(signatures, first)
                first += len(judged.usable)
                progress.update(rows=len(judged.usable))
        table = Table(path, found, Judged.joined(parts), store, None)
        if store:
            store.finish()
            shingles = self._folder / f"{name}.shingles"
            table.shingles = near_duplicates.Shingles(shingles, self._fetch(table, name))
        return table

    def _convert(self, path: Path, name: str) -> Path:
        out = self._folder / f"{name}.parquet"
        found = groups(path)
        with (
            Progress(label="converting", total_rows=sum(group.rows for group in found)) as progress,
            ParquetWriter(out, ROWS) as writer,
        ):
            for batch in self._workers.ordered(("convert", group, None) for group in found):
                writer.write_batch(batch)
                progress.update(rows=batch.num_rows)
        return out

    def problems(self, name: str) -> Iterator[tuple[int, str, str]]:
        """Number, reason and detail of each row that is unusable for itself, in their order."""
        with (self._folder / f"{name}.problems").open("rb") as file:
            for line in file:
                yield tuple(orjson.loads(line))

    def decide(self, rows: Table, against: Table | None) -> "Verdicts":
        """What becomes of each row."""
        judged = rows.judged
        verdicts = Verdicts(rows, against, np.where(judged.usable, KEPT, UNUSABLE))
        self._copies(rows, verdicts)
        is_text = judged.keys.kinds == TEXT
        kept = verdicts.codes == KEPT
        drawn = np.zeros(len(kept), bool)
        drawn[kept] = held_out(
            judged.keys.groups[kept],
            judged.keys.draws[kept],
            judged.given[kept],
            is_text[kept],
            self._heldout,
        )
        verdicts.heldout = drawn
        if against and against.store and len(against.store.rows):
            near = near_duplicates.find_across(
                rows.store, rows.shingles, against.store, against.shingles, self._threshold
            )
            verdicts.contaminate(near, "is nearly the same as", from_benchmark=True)
        self._same_questions(rows, against, verdicts)
        self._hidden_questions(rows, against, verdicts)
        return verdicts

    def _copies(self, rows: Table, verdicts: "Verdicts") -> None:
        """Find exact duplicates, near ones, and what contradicts each other.

        Nearly the same answers do not contradict each other: the first one stays.
        """
        judged = rows.judged
        (usable,) = np.nonzero(judged.usable)
        given = judged.given == HELDOUT
        first = usable[duplicates.originals(judged.keys.ids[usable], given[usable])]
        verdicts.other[usable] = first
        verdicts.codes[usable[first != usable]] = DUPLICATE
        if rows.store and len(rows.store.rows):
            near = near_duplicates.find(
                rows.store, rows.shingles, self._threshold, verdicts.codes == KEPT, given
            )
            verdicts.codes[list(near.keys())] = NEAR_DUPLICATE
            verdicts.other[list(near.keys())] = list(near.values())
        if self._rules.conflicting_answers == "reject":
            # a duplicate of a near-duplicate leads to the same row
            said = verdicts.other[verdicts.other[usable]].astype(np.uint64)
            questions = judged.keys.questions[usable]
            found = duplicates.Contradictions(said, questions, given[usable])
            verdicts.codes[usable[found.found]] = CONFLICT
            verdicts.conflicts = found, usable

    def _fetch(self, table: Table, name: str) -> near_duplicates.Fetch:
        def fetch(rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
            wanted = np.zeros(len(table.judged.usable), bool)
            wanted[rows] = True
            path = self._folder / f"{name}.wanted.npy"
            np.save(path, wanted)
            tasks = (
                ("shingles", group, path)
                for group in table.groups
                if wanted[group.first : group.first + group.rows].any()
            )
            yield from self._workers.ordered(tasks)

        return fetch

    def _same_questions(self, rows: Table, against: Table | None, verdicts: "Verdicts") -> None:
        """Reject what is trained on and asks what is held out, or in a benchmark."""
        train = verdicts.train
        if not train.any():
            return
        asked, owner = _gives_away(rows.judged, train)
        for table, wanted, from_benchmark in (
            (rows, verdicts.heldout & (verdicts.codes == KEPT), False),
            (against, against.judged.usable if against else None, True),
        ):
            if table is None or not wanted.any():
                continue
            keys, holder = _asks(table.judged, wanted)
            keys, first = np.unique(keys, return_index=True)
            place = np.searchsorted(keys, asked)
            place[place == len(keys)] = 0
            (hit,) = np.nonzero(keys[place] == asked)
            found = dict(
                zip(
                    owner[hit][::-1].tolist(), holder[first[place[hit]]][::-1].tolist(), strict=True
                )
            )
            verdicts.contaminate(found, "asks", from_benchmark)

    def _hidden_questions(self, rows: Table, against: Table | None, verdicts: "Verdicts") -> None:
        """Reject what is trained on and holds the words of a question of the test."""
        texts, numbers = [], []
        for table, wanted, sign in (
            (rows, verdicts.heldout & (verdicts.codes == KEPT), 1),
            (against, against.judged.usable if against else None, -1),
        ):
            if table is None or not wanted.any():
                continue
            for group in table.groups:
                for first, batch in group.batches(SAID_COLUMNS):
                    here = np.flatnonzero(wanted[first : first + batch.num_rows])
                    for row, text in zip(
                        here.tolist(), questions(batch.take(pa.array(here))), strict=True
                    ):
                        if text:
                            texts.append(text)
                            # rows of benchmarks below zero: -1 is the first one
                            numbers.append(first + row if sign > 0 else -1 - first - row)
        asked = Questions.of(texts)
        train = verdicts.train
        if not asked or not train.any():
            return
        asked.save(self._folder / "questions.npz")
        np.save(self._folder / "train.npy", train)
        tasks = (
            ("contaminated", group, self._folder)
            for group in rows.groups
            if train[group.first : group.first + group.rows].any()
        )
        own, foreign = {}, {}
        for found, number in self._workers.ordered(tasks):
            for row, index in zip(found.tolist(), number.tolist(), strict=True):
                place = numbers[index]
                if place < 0:
                    foreign[row] = -1 - place
                else:
                    own[row] = place
        verdicts.contaminate(own, "holds the words of", from_benchmark=False)
        verdicts.contaminate(foreign, "holds the words of", from_benchmark=True)


def _gives_away(judged: Judged, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keys of all that rows to train on ask, and the rows."""
    keys = judged.keys
    owner = np.repeat(np.arange(len(keys.ids)), np.diff(keys.asked_starts))
    asked, owner = keys.asked[train[owner]], owner[train[owner]]
    free = keys.kinds[owner] != CHOICE
    # a question without options gives away the same one with options, too
    return (
        np.concatenate([asked, asked[free] ^ OPTIONLESS]),
        np.concatenate([owner, owner[free]]),
    )


def _asks(judged: Judged, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keys of what must not be asked in training, and the rows."""
    keys = judged.keys
    filled = wanted & (np.diff(keys.asked_starts) > 0)
    (rows,) = np.nonzero(filled)
    first = keys.asked_starts[:-1][rows]
    choice = keys.kinds[rows] == CHOICE
    with_options = first[choice]
    return (
        np.concatenate(
            [
                np.where(choice, keys.asked[first] ^ OPTIONLESS, keys.asked[first]),
                keys.asked[with_options + 1],
                keys.asked[with_options + 2],
                keys.asked[with_options + 3],
            ]
        ),
        np.concatenate([rows, *[rows[choice]] * 3]),
    )


class Verdicts:
    """What becomes of each row, and why."""

    def __init__(self, rows: Table, against: Table | None, codes: np.ndarray):
        self._rows, self._against = rows, against
        self.codes = codes.astype(np.uint8)
        self.other = np.full(len(codes), -1, np.int64)
        self.heldout = np.zeros(len(codes), bool)
        self.conflicts: tuple[duplicates.Contradictions, np.ndarray] | None = None
        self._how: dict[int, tuple[str, bool]] = {}  # contaminated rows: how, from a benchmark

    @property
    def train(self) -> np.ndarray:
        """Which rows are trained on so far."""
        return (self.codes == KEPT) & ~self.heldout

    def contaminate(self, found: dict[int, int], how: str, from_benchmark: bool) -> None:
        """Reject rows that are trained on for the test question that each is mapped to."""
        train = self.train
        for row, other in found.items():
            if train[row]:
                self.codes[row] = CONTAMINATED
                self.other[row] = other
                self._how[row] = how, from_benchmark

    def details(self) -> "Details":
        """What is said about the rows that were rejected for others."""
        return Details(self._rows, self._against, self)


class Details:
    """Explains rejections; places of the rows that are named are looked up beforehand."""

    def __init__(self, rows: Table, against: Table | None, verdicts: Verdicts):
        codes, other = verdicts.codes, verdicts.other
        same = (codes == DUPLICATE) | (codes == NEAR_DUPLICATE)
        self._verdicts, self._how = verdicts, verdicts._how
        self._same = Places(rows.path, other[same])
        if verdicts.conflicts:
            found, usable = verdicts.conflicts
            self._answers = Places(rows.path, usable[found.referred_to()], answer)
        own = [row for row, (_, foreign) in self._how.items() if not foreign]
        self._asked = Places(rows.path, other[np.array(own, np.int64)], question)
        if against:
            theirs = [row for row, (_, foreign) in self._how.items() if foreign]
            self._foreign = Places(against.path, other[np.array(theirs, np.int64)], question)

    def of(self, row: int) -> str:
        """Detail of the rejection of a row."""
        code, other = self._verdicts.codes[row], int(self._verdicts.other[row])
        if code == DUPLICATE:
            return f"same as {self._same.place(other)}"
        if code == NEAR_DUPLICATE:
            return f"nearly the same as {self._same.place(other)}"
        if code == CONFLICT:
            found, usable = self._verdicts.conflicts
            others, more = found.others(int(np.searchsorted(usable, row)))
            listed = [
                f"{self._answers.quote(place)} ({self._answers.place(place)})"
                for place in usable[others].tolist()
            ]
            return "also answered " + ", ".join(listed + ([f"{more} more"] if more else []))
        how, foreign = self._how[row]
        places, name = (self._foreign, "benchmark") if foreign else (self._asked, "held-out")
        return f"{how} the {name} question {places.quote(other)} ({places.place(other)})"


def write(
    cleaning: Cleaning, rows: Table, verdicts: Verdicts, records: Path, rejected: RejectedWriter
) -> Counter:
    """Write records and rejected rows; returns how many of each side and for each reason."""
    counts: Counter = Counter()
    details, problems = verdicts.details(), cleaning.problems("rows")
    columns = ["source", "locator", *CONTENT_NAMES, "meta"]
    total = sum(group.rows for group in rows.groups)
    with (
        ParquetWriter(records, RECORDS) as writer,
        Progress(label="writing records", total_rows=total) as progress,
    ):
        for group in rows.groups:
            codes = verdicts.codes[group.first : group.first + group.rows]
            all_kept = not codes.any()
            for first, batch in group.batches(columns if all_kept else [*columns, "original"]):
                codes = verdicts.codes[first : first + batch.num_rows]
                kept = np.flatnonzero(codes == KEPT)
                if len(kept):
                    writer.write_batch(_records(batch, kept, first, rows.judged, verdicts, counts))
                lost = np.flatnonzero(codes)
                if len(lost):
                    gone = batch.select(["source", "locator", "original"])
                    for row, fields in zip(
                        (lost + first).tolist(),
                        gone.take(pa.array(lost)).to_pylist(),
                        strict=True,
                    ):
                        if verdicts.codes[row] == UNUSABLE:
                            number, reason, detail = next(problems)
                            if number != row:
                                raise RuntimeError(f"row {row} has no reason")
                        else:
                            reason, detail = REASONS[int(verdicts.codes[row])], details.of(row)
                        counts[reason] += 1
                        rejected.write(
                            {
                                "source": fields["source"],
                                "locator": fields["locator"],
                                "reason": reason,
                                "detail": detail,
                                "original": fields["original"],
                            }
                        )
                progress.update(rows=batch.num_rows)
    return counts


CONTENT_NAMES = ["kind", "messages", "chosen", "rejected", "text", "options"]


def _records(
    batch: pa.RecordBatch,
    kept: np.ndarray,
    first: int,
    judged: Judged,
    verdicts: Verdicts,
    counts: Counter,
) -> pa.RecordBatch:
    """Records from the kept rows of a batch."""
    if len(kept) < batch.num_rows:
        batch = batch.take(pa.array(kept))
    batch = trimmed(batch)
    rows = kept + first
    heldout = verdicts.heldout[rows]
    counts["train"] += int((~heldout).sum())
    counts["heldout"] += int(heldout.sum())
    groups = explicit_groups(judged.keys.groups[rows], judged.given[rows])
    columns = {name: batch.column(name) for name in ("source", "locator", *CONTENT_NAMES)}
    columns["id"] = pa.array(hexadecimal(judged.keys.ids[rows]))
    columns["group"] = pa.array(hexadecimal(groups))
    sides = heldout.astype(np.int32)
    columns["split"] = pa.DictionaryArray.from_arrays(sides, ["train", "heldout"])
    columns["meta"] = batch.column("meta").fill_null("{}")
    return pa.RecordBatch.from_arrays([columns[name] for name in RECORDS.names], schema=RECORDS)


def _check_sides(counts: Counter, judged: Judged, verdicts: Verdicts, heldout: float) -> None:
    kept = counts["train"] + counts["heldout"]
    if not kept:
        reasons = ", ".join(f"{number} {name}" for name, number in counts.most_common() if number)
        raise CleanError(
            f"none of the rows is usable ({reasons or 'the sources are empty'}). Check the files, "
            "the columns in corpus.sources and the limits in corpus.clean."
        )
    records = verdicts.codes == KEPT
    number = len(np.unique(judged.keys.groups[records & (judged.keys.kinds != TEXT)]))
    advice = (
        f"the {kept} usable rows have {number} different answer{'' if number == 1 else 's'}, and "
        "questions with the same answer stay together. Add data with other answers, or change "
        "corpus.split.heldout or corpus.split.seed"
    )
    if not counts["train"]:
        raise CleanError(f"corpus.split.heldout: {heldout:g} leaves nothing to train on: {advice}.")
    asks = records & (judged.keys.kinds != TEXT) & (judged.given == EITHER)
    if not counts["heldout"] and heldout > 0 and asks.any():
        raise CleanError(f"corpus.split.heldout: {heldout:g} holds out no question: {advice}.")


@dataclass(frozen=True)
class Outputs:
    """The files to write: parquet of the schema `files.RECORDS`, JSON lines and CSV."""

    records: Path
    rejected: Path
    table: Path


def clean(
    rows: Path,
    rules: Rules,
    split: dict,
    outputs: Outputs,
    against: Path | None = None,
    threads: int = 1,
) -> Counter:
    """Write the records and the rejected rows.

    Args:
        rows: parquet file of the schema `files.ROWS`.
        rules: what makes a row unusable.
        split: "heldout", the share of the groups or the number of questions to hold out, and
            "seed", which draws the groups.
        outputs: files to write.
        against: file of the schema `files.ROWS` whose questions must not be trained on.
        threads: number of processes; the result does not depend on it.

    Returns:
        How many records are on each side and how many rows were rejected for each reason.

    Raises:
        CleanError: nothing is left on one of the sides.
    """
    heldout, seed = split["heldout"], split["seed"]
    work = functools.partial(_work, rules, seed)
    number = 1 if len(groups(rows)) == 1 else threads
    with (
        Workers(work, number) as workers,
        tempfile.TemporaryDirectory(prefix=".clean-", dir=outputs.records.parent) as folder,
    ):
        cleaning = Cleaning(rules, heldout, seed, Path(folder), workers)
        table = cleaning.read(rows, "rows", "judge", "cleaning")
        benchmark = against and cleaning.read(
            against, "benchmarks", "benchmark", "reading benchmarks"
        )
        verdicts = cleaning.decide(table, benchmark)
        with RejectedWriter(outputs.rejected, outputs.table) as writer:
            counts = write(cleaning, table, verdicts, outputs.records, writer)
    _check_sides(counts, table.judged, verdicts, heldout)
    return counts


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=Path, required=True, help="parquet file from ingest.py")
    parser.add_argument("--rules", type=json.loads, required=True, help="corpus.clean as JSON")
    parser.add_argument(
        "--split", type=json.loads, required=True, help='JSON of "heldout" and "seed"'
    )
    parser.add_argument(
        "--against", type=Path, nargs="?", help="parquet file of questions not to be trained on"
    )
    parser.add_argument("--records", type=Path, required=True, help="parquet file to write")
    parser.add_argument("--rejected", type=Path, required=True, help="JSON lines to write")
    parser.add_argument("--rejected-table", type=Path, required=True, help="CSV file to write")
    parser.add_argument("--threads", type=int, default=1, help="number of processes")
    args = parser.parse_args(argv)
    try:
        rules = Rules.from_config(args.rules)
        counts = clean(
            args.rows,
            rules,
            args.split,
            Outputs(args.records, args.rejected, args.rejected_table),
            args.against,
            args.threads,
        )
    except (CleanError, pa.ArrowInvalid) as error:
        sys.exit(f"clean: {error}")
    for name, number in counts.items():
        print(f"{name}: {number:,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
