"""Judges all rows of a file, each by itself and then beside the others and beside benchmarks."""

import functools
import textwrap
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
from files import ROWS, ParquetWriter, read_batches
from progress import Progress
from workers import Workers

from . import duplicates, near_duplicates
from .contamination import Questions
from .contents import SAID_COLUMNS, all_texts, questions, trimmed
from .judge import Converter, Judge, Judged
from .keys import OPTIONLESS
from .rows import Group, groups
from .rules import CleanError, Rules
from .split import HELDOUT, held_out
from .verdicts import CONFLICT, DUPLICATE, KEPT, NEAR_DUPLICATE, UNUSABLE, Verdicts

CHAT, CHOICE, PREFERENCE, TEXT = range(4)
TEXT_COLUMNS = ["messages", "chosen", "rejected", "text", "options"]


def work(rules: Rules, seed: int, task: tuple[str, Group, Path | None]) -> Iterator:
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
    """Looks at the rows of files one by one, then at all of them together.

    Memory holds some hashes of each row; texts are read again where they are needed.
    """

    def __init__(self, rules: Rules, heldout: float, folder: Path, workers: Workers):
        """Prepare.

        Args:
            rules: what makes a row unusable.
            heldout: share of the groups to hold out, or from 1 on a number of questions.
            folder: for files that are needed meanwhile.
            workers: of `work` with the same rules.
        """
        self._rules, self._heldout = rules, heldout
        self._threshold = rules.near_duplicates
        self._folder, self._workers = folder, workers

    def read(self, path: Path) -> Table:
        """Judge each row for itself and note what is needed to compare it with others."""
        return self._read(path, "rows", "judge", "cleaning")

    def read_benchmarks(self, path: Path) -> Table:
        """Note what benchmarks ask.

        Raises:
            CleanError: a row could not be read: what it asks could not be kept out of training.
        """
        _check_readable(path)
        return self._read(path, "benchmarks", "benchmark", "reading benchmarks")

    def _read(self, path: Path, name: str, task: str, label: str) -> Table:
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

    def problems(self) -> Iterator[tuple[int, str, str]]:
        """Number, reason and detail of each row that is unusable for itself, in their order."""
        with (self._folder / "rows.problems").open("rb") as file:
            for line in file:
                yield tuple(orjson.loads(line))

    def decide(self, rows: Table, against: Table | None) -> Verdicts:
        """What becomes of each row."""
        judged = rows.judged
        verdicts = Verdicts(
            rows.path, against and against.path, np.where(judged.usable, KEPT, UNUSABLE)
        )
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
        rows.store = None  # no more needed, and large
        self._same_questions(rows, against, verdicts)
        self._hidden_questions(rows, against, verdicts)
        return verdicts

    def _copies(self, rows: Table, verdicts: Verdicts) -> None:
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

    def _same_questions(self, rows: Table, against: Table | None, verdicts: Verdicts) -> None:
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

    def _hidden_questions(self, rows: Table, against: Table | None, verdicts: Verdicts) -> None:
        """Reject what is trained on and holds the words of a question of the test."""
        numbers = array("q")  # rows of benchmarks below zero: -1 is the first one
        tested = verdicts.heldout & (verdicts.codes == KEPT)
        asked = Questions.of(
            chain(
                _questions(rows, tested, numbers, False),
                _questions(against, against.judged.usable, numbers, True) if against else (),
            )
        )
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


def _questions(
    table: Table, wanted: np.ndarray, numbers: array, from_benchmark: bool
) -> Iterator[str]:
    """What the wanted rows ask; their numbers are added to `numbers`."""
    for group in table.groups:
        if not wanted[group.first : group.first + group.rows].any():
            continue
        for first, batch in group.batches(SAID_COLUMNS):
            here = np.flatnonzero(wanted[first : first + batch.num_rows])
            for row, text in zip(
                (first + here).tolist(), questions(batch.take(pa.array(here))), strict=True
            ):
                if text:
                    numbers.append(-1 - row if from_benchmark else row)
                    yield text


def _check_readable(path: Path) -> None:
    columns = ["source", "locator", "reason", "detail"]
    unreadable: dict[str, list[dict]] = {}
    for batch in read_batches(path, columns):
        for row in batch.filter(batch.column("reason").is_valid()).to_pylist():
            unreadable.setdefault(row["source"], []).append(row)
    if not unreadable:
        return
    found = []
    for source, rows in unreadable.items():
        first = rows[0]
        detail = textwrap.shorten(first["detail"] or "", 150, placeholder=" ...")
        reason = f"{first['reason']}: {detail}" if detail else first["reason"]
        count = "1 row" if len(rows) == 1 else f"{len(rows):,} rows"
        found.append(
            f"{source}: {count} cannot be read, the first is {first['locator']} ({reason})"
        )
    raise CleanError(
        f"benchmarks: {'; '.join(found)}. Their questions could not be kept out of training: name "
        "the columns of the question and the answer in corpus.split.decontaminate, or mend the "
        "file."
    )


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
