"""Account for every row of the sources, from the files that the corpus stage has written.

Nothing is taken over from the counters of the earlier steps but how many rows were read: the rest
is counted anew in the finished files, and if the sums do not agree the rule fails.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import chain, islice, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from chat_forms import CHAT_KINDS, chosen, turns
from cleaning.characters import key_forms
from cleaning.contamination import Questions
from cleaning.contents import (
    MESSAGE_COLUMNS,
    SAID_COLUMNS,
    Texts,
    all_texts,
    names,
    questions,
)
from cleaning.keys import number
from cleaning.split import TRAIN, explicit_groups, group_of_form
from files import flat_messages, read_batches, read_jsonl, write_json
from normalise import is_blank
from progress import Progress

CHECKED = {
    "rows": "rows read = kept + rejected + not sampled, for each source and in total",
    "split": "no group has records on both sides",
    "leaked": "no held-out or benchmark question, nor the prompt of a held-out preference pair, is "
    "asked in train.jsonl or in texts and pairs to train on, and none has most of its words there; "
    "no answer is on both sides, explicit test files aside",
    "files": "train.jsonl and heldout.jsonl hold one line for each conversation of their side, and "
    "train.jsonl those again that are repeated; heldout_pairs.jsonl holds one for each held-out "
    "pair; every recalled question and every calibration conversation is trained on",
}
SUMMED = ("rows", "blank", "repaired", "not_sampled", "kept", "repeated")
LINES_AT_A_TIME = 5_000


class LedgerError(Exception):
    """The sums do not agree: a row was lost or counted twice."""


def count_rows(
    sources: list[dict], records: Path, rejected: Path, repeats: dict[str, int]
) -> tuple[list[dict], dict]:
    """What became of the rows, per source and in total.

    Args:
        sources: what was counted when they were read, {"source", "rows", "blank", "repaired",
            "not_sampled", ...}.
        records: the kept rows.
        rejected: the rejected rows.
        repeats: how often the conversations of some sources are trained on.

    Raises:
        LedgerError: a source does not add up.
    """
    kept: Counter = Counter()
    trained: Counter = Counter()
    for batch in read_batches(records, ["source", "split", "kind"]):
        kept.update(names(batch.column("source")))
        trained.update(names(batch.filter(chosen(batch, "train")).column("source")))
    reasons: dict[str, Counter] = {}
    for row in read_jsonl(rejected):
        reasons.setdefault(row["source"], Counter())[row["reason"]] += 1
    entries = []
    for source in sources:
        name = source["source"]
        entry = {
            **source,
            "kept": kept.pop(name, 0),
            "repeated": (repeats.get(name, 1) - 1) * trained[name],
            "rejected": dict(sorted(reasons.pop(name, Counter()).items())),
        }
        _check_sum(name, entry)
        entries.append(entry)
    if strangers := sorted({*kept, *reasons}):
        raise LedgerError(f"rows of sources that were never read: {', '.join(strangers)}")
    rejected_in_all = sum((Counter(entry["rejected"]) for entry in entries), Counter())
    total = {
        **{key: sum(entry[key] for entry in entries) for key in SUMMED},
        "rejected": dict(sorted(rejected_in_all.items())),
    }
    _check_sum("total", total)
    return entries, total


def _check_sum(name: str, entry: dict) -> None:
    rejected = sum(entry["rejected"].values())
    total = entry["kept"] + rejected + entry["not_sampled"]
    if entry["rows"] != total:
        raise LedgerError(
            f"{name}: {entry['rows']} rows were read, but {entry['kept']} kept, {rejected} "
            f"rejected and {entry['not_sampled']} not sampled make {total}"
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

    def given_away(self, lines: "Lines | Others") -> np.ndarray:
        """Numbers of the questions that some of what is trained on asks or contains."""
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


class Others:
    """Texts and preference pairs to train on.

    Attributes:
        texts: all that they say.
        asked: keys of the texts, and of what the prompts ask.
    """

    def __init__(self, batch: pa.RecordBatch):
        self.texts = all_texts(batch)
        _, roles, contents = flat_messages(batch.column("messages"))
        asked = contents.filter(pc.equal(roles, "user")), batch.column("text").drop_null()
        forms = key_forms(pa.concat_arrays(asked))
        self.asked = np.array(list(map(number, forms)), np.uint64)


def read_others(records: Path) -> Iterator[Others]:
    """Texts and preference pairs to train on, some at a time."""
    for batch in read_batches(records, ["split", "kind", "text", "options", *MESSAGE_COLUMNS]):
        found = batch.filter(chosen(batch, "train", ("text", "preference")))
        if found.num_rows:
            yield Others(found)


def read_lines(path: Path, most: int) -> Iterator[Lines]:
    """The first lines of train.jsonl, some at a time."""
    rows = islice(read_jsonl(path), most)
    while some := list(islice(rows, LINES_AT_A_TIME)):
        yield Lines(some)


def benchmark_questions(path: Path) -> Iterator[str]:
    """What the rows of a file of the schema `files.ROWS` ask."""
    for batch in read_batches(path, SAID_COLUMNS):
        yield from filter(None, questions(batch.filter(batch.column("kind").is_valid())))


def check_files(
    files: dict[str, Path],
    records: Path,
    split: dict,
    against: Path | None,
    repeats: dict[str, int],
) -> dict:
    """Number of lines of each file, after a look at what is in them.

    Args:
        files: path by name, of train.jsonl, heldout.jsonl, recall.jsonl, heldout_mcq.jsonl,
            calibration.jsonl, heldout_preference.jsonl and heldout_pairs.jsonl.
        records: the kept rows.
        split: result of `count_split`.
        against: file of the schema `files.ROWS` with questions of benchmarks.
        repeats: how often the conversations of some sources are trained on.

    Raises:
        LedgerError: a line too many or too few, or held-out text among the training text.
    """
    counts = {name: _count(path) for name, path in files.items()}
    trained = _Trained(records, repeats)
    wanted = {
        "train.jsonl": int(trained.times.sum()),
        "heldout.jsonl": sum(split["by_kind"]["heldout"].get(kind, 0) for kind in CHAT_KINDS),
        "heldout_pairs.jsonl": split["by_kind"]["heldout"].get("preference", 0),
    }
    for name, number_of in wanted.items():
        if counts[name] != number_of:
            raise LedgerError(f"{name} has {counts[name]} lines for {number_of} records")
    if repeats:
        _check_repeats(files["train.jsonl"], trained.times)
    questions_of_pairs = (
        next(turn["content"] for turn in row["prompt"] if turn["role"] == "user")
        for row in read_jsonl(files["heldout_pairs.jsonl"])
    )
    heldout = Asked(
        chain((row["question"] for row in read_jsonl(files["heldout.jsonl"])), questions_of_pairs)
    )
    benchmark = Asked(benchmark_questions(against) if against else ())

    def check_leaks(said: Lines | Others) -> None:
        for name, asked in (("held-out", heldout), ("benchmark", benchmark)):
            if len(leaked := asked.given_away(said)):
                text = asked.texts[leaked[0]]
                raise LedgerError(f"the {name} question {text!r} leaks into training")

    if {"text", "preference"} & split["by_kind"]["train"].keys():
        for others in read_others(records):
            check_leaks(others)
    pairs, first, number_of = [], 0, len(trained.times)
    with Progress(label="checking train.jsonl", total_rows=number_of) as progress:
        for lines in read_lines(files["train.jsonl"], number_of):
            rows = slice(first, first + len(lines.groups))
            check_leaks(lines)
            chat = trained.chats[rows] & lines.plain
            own, found = trained.groups[rows][chat], lines.groups[chat]
            allowed = own == explicit_groups(found, np.full(len(found), TRAIN))
            if (np.isin(found, trained.heldout_groups) & ~allowed).any():
                raise LedgerError("an answer of a held-out question leaks into training")
            pairs.append(lines.pairs)
            first = rows.stop
            progress.update(rows=len(lines.groups))

    known_pairs = np.concatenate([_NONE, *pairs])
    recalled = ([(row["question"], row["answer"])] for row in read_jsonl(files["recall.jsonl"]))
    calibrating = (
        turns([(turn["role"], turn["content"]) for turn in row["messages"]])
        for row in read_jsonl(files["calibration.jsonl"])
    )
    for name, conversations in (("recall.jsonl", recalled), ("calibration.jsonl", calibrating)):
        said = [pair for conversation in conversations for pair in conversation]
        forms = key_forms(pa.array([text for pair in said for text in pair], pa.string()))
        keys = np.array(list(map(number, forms[::2], forms[1::2])), np.uint64)
        for (question, _), known in zip(said, np.isin(keys, known_pairs).tolist(), strict=True):
            if not known:
                raise LedgerError(f"{name}: {question!r} is not trained on")
    return counts


def _check_repeats(train: Path, times: np.ndarray) -> None:
    """Look whether what is repeated stands in train.jsonl so often: once, and then the other times.

    Raises:
        LedgerError: a line too often, or not often enough.
    """
    wanted: Counter[bytes] = Counter()
    with train.open("rb") as file:
        for line, again in zip(islice(file, len(times)), (times - 1).tolist(), strict=True):
            if again:
                wanted[_hash(line)] += again
        found = Counter(map(_hash, file))
    if found != wanted:
        raise LedgerError("train.jsonl does not repeat what the configuration says")


def _hash(line: bytes) -> bytes:
    return blake2b(line, digest_size=16).digest()


def _count(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


class _Trained:
    """What the records say of the lines of train.jsonl.

    Attributes:
        groups: group of each conversation to train on.
        chats: whether it is a chat.
        times: how often it is trained on.
        heldout_groups: all groups that are held out.
    """

    def __init__(self, records: Path, repeats: dict[str, int]):
        groups, chats, heldout = [_NONE], [np.empty(0, bool)], [_NONE]
        times = [np.empty(0, np.int64)]
        for batch in read_batches(records, ["source", "group", "split", "kind"]):
            numbers = _numbers(batch.column("group"))
            here = chosen(batch, "train").to_numpy(zero_copy_only=False)
            groups.append(numbers[here])
            chats.append(np.array(names(batch.column("kind")))[here] == "chat")
            sources = np.array(names(batch.column("source")))[here]
            times.append(np.array([repeats.get(source, 1) for source in sources], np.int64))
            heldout.append(numbers[np.array(names(batch.column("split"))) == "heldout"])
        self.groups, self.chats = np.concatenate(groups), np.concatenate(chats)
        self.times = np.concatenate(times)
        self.heldout_groups = np.unique(np.concatenate(heldout))


def as_text(entries: list[dict], total: dict) -> str:
    """The rows of the ledger as a table to read in the log."""
    named = [*((entry["source"], entry) for entry in entries), ("total", total)]
    lines = []
    for name, entry in named:
        rejected = sum(entry["rejected"].values())
        left = f" + {entry['not_sampled']:,} not sampled" if entry["not_sampled"] else ""
        again = f"; trained on {entry['repeated']:,} times more" if entry["repeated"] else ""
        lines.append(
            f"{name}: {entry['rows']:,} rows = {entry['kept']:,} kept + {rejected:,} rejected"
            f"{left}{again}"
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
        nargs=7,
        required=True,
        help="train, heldout, recall, heldout_mcq, calibration, heldout_preference and "
        "heldout_pairs.jsonl",
    )
    parser.add_argument(
        "--repeats", type=json.loads, default={}, help="JSON: how often, by source, if not once"
    )
    parser.add_argument("--ledger", type=Path, required=True, help="json file to write")
    args = parser.parse_args(argv)
    try:
        counts = json.loads(args.counts.read_text(encoding="utf-8"))
        entries, total = count_rows(counts["sources"], args.records, args.rejected, args.repeats)
        split = count_split(args.records)
        paths = {path.name: path for path in args.files}
        files = check_files(paths, args.records, split, args.against, args.repeats)
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
            "preference_skipped": files["heldout_pairs.jsonl"] - files["heldout_preference.jsonl"],
            "files": files,
            "checked": CHECKED,
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
