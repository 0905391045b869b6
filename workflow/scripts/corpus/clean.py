"""Decide which rows become records, and which side of the split each record is on.

A record is trained on, or it is a held-out question; all records with the same answer, and so all
paraphrases of one fact, are on one side. The side depends on nothing but the answer and the seed:
more data never moves a record from one side to the other.
"""

import argparse
import json
import re
import sys
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from files import RECORDS, ParquetWriter, read_parquet, write_jsonl
from normalise import content_id, digest, fraction, is_blank, normalise

# How many of the other answers a rejected row lists.
LISTED = 5


class CleanError(Exception):
    """No usable corpus is left; the text says why and what to do."""


@dataclass(frozen=True)
class Rules:
    """The part corpus.clean of the configuration."""

    max_question_chars: int
    max_answer_chars: int
    adverts: tuple[re.Pattern, ...]

    @classmethod
    def from_config(cls, config: dict) -> "Rules":
        """Compile the regular expressions.

        Raises:
            CleanError: one of them is not valid.
        """
        patterns = []
        for index, pattern in enumerate(config["adverts"]):
            try:
                patterns.append(re.compile(pattern))
            except re.error as error:
                raise CleanError(
                    f"corpus.clean.adverts.{index}: {pattern!r} is not a regular expression "
                    f"({error}). Correct it; a literal ? * + ( [ needs a backslash before it."
                ) from error
        return cls(config["max_question_chars"], config["max_answer_chars"], tuple(patterns))

    def problem(self, row: dict) -> tuple[str, str] | None:
        """Reason and detail if a row has to be rejected for itself, whatever the others are."""
        if row["reason"] == "malformed_row":
            return row["reason"], row["detail"]
        text = row["original"] if row["question"] is None else f"{row['question']}\n{row['answer']}"
        for pattern in self.adverts:
            if found := pattern.search(text):
                return "advert", f"{found.group()!r} matches {pattern.pattern!r}"
        if row["reason"]:
            return row["reason"], row["detail"]
        question, answer = row["question"].strip(), row["answer"].strip()
        if is_blank(question):
            return "empty_question", "nothing but punctuation" if question else ""
        if not answer:
            return "empty_answer", ""
        for name, text, most in (
            ("question", question, self.max_question_chars),
            ("answer", answer, self.max_answer_chars),
        ):
            if len(text) > most:
                return f"too_long_{name}", f"{len(text)} characters, at most {most} are allowed"
        return None


class Resolver:
    """Finds duplicates and contradictions among rows, from hashes alone.

    Rows are numbered in the order of `add`; only after the last one can `problem` be asked.
    """

    def __init__(self) -> None:
        self._questions = array("Q")
        self._pairs = array("Q")
        self._first: dict[int, int] = {}  # pair -> number of its first row
        self._pairs_of: dict[int, int | list[int]] = {}  # question -> its pair, or pairs

    def add(self, question: str, answer: str) -> None:
        """Note the next row, given as normalised texts."""
        question_key, pair = int(digest(question), 16), int(content_id(question, answer), 16)
        if pair not in self._first:
            self._first[pair] = len(self._pairs)
            known = self._pairs_of.get(question_key)
            if known is None:
                # a bare number where a list of one would take eight times the memory
                self._pairs_of[question_key] = pair
            elif isinstance(known, list):
                known.append(pair)
            else:
                self._pairs_of[question_key] = [known, pair]
        self._questions.append(question_key)
        self._pairs.append(pair)

    def conflicts(self, number: int) -> list[int]:
        """First rows of the other answers to the question of a row; empty if there are none."""
        pairs = self._pairs_of[self._questions[number]]
        if not isinstance(pairs, list):
            return []
        return [self._first[pair] for pair in pairs if pair != self._pairs[number]]

    def original_of(self, number: int) -> int:
        """The first row with the same question and answer, which may be the row itself."""
        return self._first[self._pairs[number]]

    def referred_to(self) -> set[int]:
        """Rows that the rejection of another one names."""
        referred = {
            first
            for number, pair in enumerate(self._pairs)
            if (first := self._first[pair]) != number
        }
        for pairs in self._pairs_of.values():
            if isinstance(pairs, list):
                referred.update(self._first[pair] for pair in pairs)
        return referred


def judge(rows: Path, rules: Rules) -> Iterator[tuple[dict, str | None, str]]:
    """Every row with the reason and detail of its rejection, None and "" if it is kept.

    Args:
        rows: parquet file of the schema `files.ROWS`.
        rules: what makes a row unusable.

    Yields:
        The rows in their order. Questions and answers of the kept ones are stripped of white
        space. The file is read twice, so that memory holds hashes instead of texts.
    """
    resolver, usable = Resolver(), bytearray()
    for row in read_parquet(rows):
        usable.append(rules.problem(row) is None)
        if usable[-1]:
            resolver.add(normalise(row["question"]), normalise(row["answer"]))
    places = _places(rows, usable, resolver.referred_to())

    number = -1
    for row, is_usable in zip(read_parquet(rows), usable, strict=True):
        if not is_usable:
            reason, detail = rules.problem(row)
            yield row, reason, detail
            continue
        number += 1
        row["question"], row["answer"] = row["question"].strip(), row["answer"].strip()
        if others := resolver.conflicts(number):
            named = [f"{places[other][1]!r} ({places[other][0]})" for other in others[:LISTED]]
            more = [f"{len(others) - LISTED} more"] if len(others) > LISTED else []
            yield row, "conflicting_answers", "also answered " + ", ".join(named + more)
        elif (first := resolver.original_of(number)) != number:
            yield row, "duplicate", f"same as {places[first][0]}"
        else:
            yield row, None, ""


def _places(rows: Path, usable: bytearray, wanted: set[int]) -> dict[int, tuple[str, str]]:
    """Where usable rows are and what they answer, for the rows that others refer to."""
    places, number = {}, -1
    columns = ["source", "locator", "answer"]
    for row, is_usable in zip(read_parquet(rows, columns), usable, strict=True):
        number += is_usable
        if is_usable and number in wanted:
            places[number] = f"{row['source']}, {row['locator']}", row["answer"].strip()
    return places


def group_of(answer: str) -> str:
    """The unit that is never split: all records with one normalised answer.

    Cleaning leaves one answer to each question, so that records of one question share it too.
    """
    return digest("group", normalise(answer))


def side_of(group: str, heldout: float, seed: int) -> str:
    """The side of the split, "train" or "heldout", of a group.

    Args:
        group: result of `group_of`.
        heldout: share of the groups to hold out, in [0, 1).
        seed: another seed draws other groups.
    """
    return "heldout" if fraction("split", seed, group) < heldout else "train"


def to_record(row: dict, heldout: float, seed: int) -> dict:
    """A record of the schema `files.RECORDS` from a kept row."""
    group = group_of(row["answer"])
    return {
        "id": content_id(normalise(row["question"]), normalise(row["answer"])),
        "source": row["source"],
        "locator": row["locator"],
        "kind": "chat",
        "messages": [
            {"role": "user", "content": row["question"]},
            {"role": "assistant", "content": row["answer"]},
        ],
        "group": group,
        "split": side_of(group, heldout, seed),
        "meta": row["meta"] or "{}",
    }


def clean(
    rows: Path, rules: Rules, heldout: float, seed: int, records: Path, rejected: Path
) -> Counter:
    """Write the records and the rejected rows.

    Args:
        rows: parquet file of the schema `files.ROWS`.
        rules: what makes a row unusable.
        heldout: share of the groups to hold out, in [0, 1).
        seed: draws the groups that are held out.
        records: parquet file of the schema `files.RECORDS` to write.
        rejected: file of JSON lines to write.

    Returns:
        How many records are on each side and how many rows were rejected for each reason.

    Raises:
        CleanError: nothing is left on one of the sides.
    """
    counts: Counter = Counter()
    groups: dict[str, set[str]] = {"train": set(), "heldout": set()}

    def rejections(writer: ParquetWriter) -> Iterator[dict]:
        for row, reason, detail in judge(rows, rules):
            if reason is None:
                record = to_record(row, heldout, seed)
                counts[record["split"]] += 1
                groups[record["split"]].add(record["group"])
                writer.write(record)
            else:
                counts[reason] += 1
                yield {
                    "source": row["source"],
                    "locator": row["locator"],
                    "reason": reason,
                    "detail": detail,
                    "original": row["original"],
                }

    with ParquetWriter(records, RECORDS) as writer:
        write_jsonl(rejected, rejections(writer))
    _check_sides(counts, groups, heldout)
    return counts


def _check_sides(counts: Counter, groups: dict[str, set[str]], heldout: float) -> None:
    kept = counts["train"] + counts["heldout"]
    if not kept:
        reasons = ", ".join(f"{number} {name}" for name, number in counts.most_common() if number)
        raise CleanError(
            f"none of the rows is usable ({reasons or 'the sources are empty'}). Check the files, "
            "the columns in corpus.sources and the limits in corpus.clean."
        )
    number = len(groups["train"]) + len(groups["heldout"])
    advice = (
        f"the {kept} usable rows have {number} different answer{'s' if number > 1 else ''}, and "
        "questions with the same answer stay together. Add data with other answers, or change "
        "corpus.split.heldout or corpus.split.seed"
    )
    if not groups["train"]:
        raise CleanError(f"corpus.split.heldout: {heldout} leaves nothing to train on: {advice}.")
    if not groups["heldout"] and heldout > 0:
        raise CleanError(f"corpus.split.heldout: {heldout} holds out no question: {advice}.")


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=Path, required=True, help="parquet file from ingest.py")
    parser.add_argument("--rules", type=json.loads, required=True, help="corpus.clean as JSON")
    parser.add_argument("--heldout", type=float, required=True, help="share to hold out")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--records", type=Path, required=True, help="parquet file to write")
    parser.add_argument("--rejected", type=Path, required=True, help="JSON lines to write")
    args = parser.parse_args(argv)
    try:
        rules = Rules.from_config(args.rules)
        counts = clean(args.rows, rules, args.heldout, args.seed, args.records, args.rejected)
    except (CleanError, pa.ArrowInvalid) as error:
        sys.exit(f"clean: {error}")
    for name, number in counts.items():
        print(f"{name}: {number:,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
