"""Account for every row of the sources, from the files that the corpus stage has written.

Nothing is taken over from the counters of the earlier steps but how many rows were read: the rest
is counted anew in the finished files, and if the sums do not agree the rule fails.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from chat_forms import CHAT_KINDS, turns
from cleaning.characters import key_forms
from cleaning.contamination import Questions
from cleaning.contents import SAID_COLUMNS, Texts, names, questions
from cleaning.keys import number
from cleaning.split import TRAIN, explicit_groups, group_of_form
from files import read_batches, read_jsonl, write_json
from normalise import is_blank
from progress import Progress

CHECKED = {
    "rows": "rows read = kept + rejected, for each source and in total",
    "split": "no group has records on both sides",
    "leaked": "no held-out or benchmark question is asked in train.jsonl, and none has most of its "
    "words there; no answer is on both sides, explicit test files aside",
    "files": "train.jsonl and heldout.jsonl hold one line for each conversation of their side; "
    "every recalled question and every calibration conversation is trained on",
}
SUMMED = ("rows", "blank", "repaired", "kept")
LINES_AT_A_TIME = 5_000


class LedgerError(Exception):
    """The sums do not agree: a row was lost or counted twice."""


def count_rows(sources: list[dict], records: Path, rejected: Path) -> tuple[list[dict], dict]:
    """What became of the rows, per source and in total.

    Args:
        sources: what was counted when they were read, {"source", "rows", "blank", "repaired", ...}.
        records: the kept rows.
        rejected: the rejected rows.

    Raises:
        LedgerError: a source does not add up.
    """
    kept: Counter = Counter()
    for batch in read_batches(records, ["source"]):
        kept.update(names(batch.column("source")))
    reasons: dict[str, Counter] = {}
    for row in read_jsonl(rejected):
        reasons.setdefault(row["source"], Counter())[row["reason"]] += 1
    entries = []
    for source in sources:
        name = source["source"]
        entry = {
            **source,
            "kept": kept.pop(name, 0),
            "rejected": dict(sorted(reasons.pop(name, Counter()).items())),
        }
        _check_sum(name, entry)
        entries.append(entry)
    if strangers := sorted({*kept, *reasons}):
        raise LedgerError(f"rows of sources that were never read: {', '.join(strangers)}")
    rejected_in_all = sum((Counter(entry["rejected"]) for entry in entries), Counter())
    total = {
        **{
            key: sum(entry[key] for entry in entries)
            for key in ("rows", "blank", "repaired", "kept")
        },
        "rejected": dict(sorted(rejected_in_all.items())),
    }
    _check_sum("total", total)
    return entries, total


def _check_sum(name: str, entry: dict) -> None:
    rejected = sum(entry["rejected"].values())
    if entry["rows"] != entry["kept"] + rejected:
        raise LedgerError(
            f"{name}: {entry['rows']} rows were read, but {entry['kept']} kept and {rejected} "
            f"rejected make {entry['kept'] + rejected}"
        )


def count_split(records: Path) -> dict:
    """Records and groups of each side, and of how many kinds the records are.

    Raises:
        LedgerError: a group is on both sides.
    """
    kinds = {"train": Counter(), "heldout": Counter()}
    groups = {"train": [], "heldout": []}
    for batch in read_batches(records, ["group", "split", "kind"]):
        sides, found = names(batch.column("split")), names(batch.column("kind"))
        for side, number_of in Counter(zip(sides, found, strict=True)).items():
            kinds[side[0]][side[1]] += number_of
        numbers = _numbers(batch.column("group"))
        for side, parts in groups.items():
            parts.append(np.unique(numbers[np.array(sides) == side]))
    train, heldout = (np.unique(np.concatenate([_NONE, *groups[side]])) for side in groups)
    if len(both := np.intersect1d(train, heldout)):
        raise LedgerError(f"the group {both[0]:016x} is on both sides of the split")
    return {
        "train": kinds["train"].total(),
        "heldout": kinds["heldout"].total(),
        "groups_train": len(train),
        "groups_heldout": len(heldout),
        "by_kind": {side: dict(sorted(found.items())) for side, found in kinds.items()},
    }


_NONE = np.empty(0, np.uint64)


def _numbers(groups: pa.StringArray) -> np.ndarray:
    digits = b"".join(map(bytes.fromhex, groups.to_pylist()))
    return np.frombuffer(digits, ">u8").astype(np.uint64)


class Asked:
    """The questions that must not be trained on."""

    def __init__(self, texts: Iterable[str]):
        self.texts = [text for text in texts if not is_blank(text)]
        self._keys = _keys(self.texts)
        self._order = np.argsort(self._keys)
        self._hidden = Questions.of(self.texts)

    def given_away(self, lines: "Lines") -> np.ndarray:
        """Numbers of the questions that lines of train.jsonl ask or contain."""
        here = self._order[np.isin(self._keys[self._order], lines.asked)]
        return np.union1d(here, self._hidden.all_given_away(lines.texts) if self._hidden else here)


def _keys(texts: list[str]) -> np.ndarray:
    return np.array([number(form) for form in key_forms(pa.array(texts, pa.string()))], np.uint64)


class Lines:
    """Some lines of train.jsonl.

    Attributes:
        texts: inputs and outputs of all turns.
        asked: keys of the inputs.
        pairs: keys of the turns.
        groups: of each line, the group of its answers.
    """

    def __init__(self, rows: list[dict]):
        said, starts = [], [0]
        for row in rows:
            for turn in row["conversation"]:
                said += turn["input"], turn["output"]
            starts.append(len(said))
        self.texts = Texts(pa.array(said, pa.string()), np.array(starts))
        forms = key_forms(self.texts.texts)
        inputs, outputs = forms[::2], forms[1::2]
        self.asked = np.array([number(form) for form in inputs], np.uint64)
        self.pairs = np.array(list(map(number, inputs, outputs)), np.uint64)
        answers = ("\n".join(forms[a + 1 : b : 2]) for a, b in pairwise(starts))
        self.groups = np.array([int(group_of_form(form), 16) for form in answers], np.uint64)
        self.plain = np.diff(self.texts.starts) == 2


def read_lines(path: Path) -> Iterator[Lines]:
    """Lines of train.jsonl, some at a time."""
    rows = read_jsonl(path)
    while some := list(islice(rows, LINES_AT_A_TIME)):
        yield Lines(some)


def benchmark_questions(path: Path) -> Iterator[str]:
    """What the rows of a file of the schema `files.ROWS` ask."""
    for batch in read_batches(path, SAID_COLUMNS):
        yield from filter(None, questions(batch.filter(batch.column("kind").is_valid())))


def check_files(files: dict[str, Path], records: Path, split: dict, against: Path | None) -> dict:
    """Number of lines of each file, after a look at what is in them.

    Args:
        files: path by name, of train.jsonl, heldout.jsonl, recall.jsonl, heldout_mcq.jsonl and
            calibration.jsonl.
        records: the kept rows.
        split: result of `count_split`.
        against: file of the schema `files.ROWS` with questions of benchmarks.

    Raises:
        LedgerError: a line too many or too few, or held-out text among the training text.
    """
    counts = {name: _count(path) for name, path in files.items()}
    for name, side in (("train.jsonl", "train"), ("heldout.jsonl", "heldout")):
        wanted = sum(split["by_kind"][side].get(kind, 0) for kind in CHAT_KINDS)
        if counts[name] != wanted:
            raise LedgerError(f"{name} has {counts[name]} lines for {wanted} records")
    heldout = Asked(row["question"] for row in read_jsonl(files["heldout.jsonl"]))
    benchmark = Asked(benchmark_questions(against) if against else ())

    groups, kinds, heldout_groups = _groups(records)
    pairs, first = [], 0
    with Progress(label="checking train.jsonl", total_rows=counts["train.jsonl"]) as progress:
        for lines in read_lines(files["train.jsonl"]):
            rows = slice(first, first + len(lines.groups))
            for name, asked in (("held-out", heldout), ("benchmark", benchmark)):
                if len(leaked := asked.given_away(lines)):
                    text = asked.texts[leaked[0]]
                    raise LedgerError(f"the {name} question {text!r} leaks into training")
            chat = kinds[rows] & lines.plain
            own, found = groups[rows][chat], lines.groups[chat]
            allowed = own == explicit_groups(found, np.full(len(found), TRAIN))
            if (np.isin(found, heldout_groups) & ~allowed).any():
                raise LedgerError("an answer of a held-out question leaks into training")
            pairs.append(lines.pairs)
            first = rows.stop
            progress.update(rows=len(lines.groups))

    trained = np.concatenate([_NONE, *pairs])
    recalled = ([(row["question"], row["answer"])] for row in read_jsonl(files["recall.jsonl"]))
    calibrating = (
        turns([(turn["role"], turn["content"]) for turn in row["messages"]])
        for row in read_jsonl(files["calibration.jsonl"])
    )
    for name, conversations in (("recall.jsonl", recalled), ("calibration.jsonl", calibrating)):
        said = [pair for conversation in conversations for pair in conversation]
        forms = key_forms(pa.array([text for pair in said for text in pair], pa.string()))
        keys = np.array(list(map(number, forms[::2], forms[1::2])), np.uint64)
        for (question, _), known in zip(said, np.isin(keys, trained).tolist(), strict=True):
            if not known:
                raise LedgerError(f"{name}: {question!r} is not trained on")
    return counts


def _count(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _groups(records: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Group of each conversation to train on, whether it is a chat, and the held-out groups."""
    groups, chats, heldout = [_NONE], [np.empty(0, bool)], [_NONE]
    for batch in read_batches(records, ["group", "split", "kind"]):
        side, kind = np.array(names(batch.column("split"))), np.array(names(batch.column("kind")))
        numbers = _numbers(batch.column("group"))
        conversation = (side == "train") & np.isin(kind, CHAT_KINDS)
        groups.append(numbers[conversation])
        chats.append(kind[conversation] == "chat")
        heldout.append(numbers[side == "heldout"])
    return np.concatenate(groups), np.concatenate(chats), np.unique(np.concatenate(heldout))


def as_text(entries: list[dict], total: dict) -> str:
    """The rows of the ledger as a table to read in the log."""
    named = [*((entry["source"], entry) for entry in entries), ("total", total)]
    lines = []
    for name, entry in named:
        rejected = sum(entry["rejected"].values())
        lines.append(
            f"{name}: {entry['rows']:,} rows = {entry['kept']:,} kept + {rejected:,} rejected"
        )
        lines += [f"    {number:>8,} {reason}" for reason, number in entry["rejected"].items()]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=Path, required=True, help="json file of the rows")
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--rejected", type=Path, required=True)
    parser.add_argument("--against", type=Path, nargs="?", help="rows of the benchmarks")
    parser.add_argument(
        "--files",
        type=Path,
        nargs=5,
        required=True,
        help="train, heldout, recall, heldout_mcq and calibration.jsonl",
    )
    parser.add_argument("--ledger", type=Path, required=True, help="json file to write")
    args = parser.parse_args(argv)
    try:
        counts = json.loads(args.counts.read_text(encoding="utf-8"))
        entries, total = count_rows(counts["sources"], args.records, args.rejected)
        split = count_split(args.records)
        paths = {path.name: path for path in args.files}
        files = check_files(paths, args.records, split, args.against)
    except LedgerError as error:
        sys.exit(
            f"ledger: {error}. This is a fault of the workflow, not of the data: please report it "
            "with the sources."
        )
    print(as_text(entries, total))
    write_json(
        args.ledger,
        {
            "sources": entries,
            "total": total,
            "review": counts["review"],
            "split": {**split, "leaked": 0},
            "mcq_skipped": files["heldout.jsonl"] - files["heldout_mcq.jsonl"],
            "files": files,
            "checked": CHECKED,
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
