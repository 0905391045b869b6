"""What a person did in an earlier review, found again by the original texts of the rows."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from files import ROWS
from normalise import digest

from .sheet import Line, Workbook, canonical, numbered, pair_of


def key_of(row: dict, pair: tuple[str, str]) -> str:
    """What makes a row the same as one of an earlier review."""
    return f"!{digest(canonical(row['original']))}" if row["reason"] else _pair_key(pair)


def _pair_key(pair: tuple[str, str]) -> str:
    return digest(*map(canonical, pair))


@dataclass(slots=True)
class Outcome:
    """What became of one row.

    Attributes:
        line: as the person left it, None if it was removed.
        edited: whether its texts were changed.
    """

    line: Line | None
    edited: bool

    @property
    def matters(self) -> bool:
        """Whether the person did anything at all."""
        return self.line is None or self.edited or self.line.delete or self.line.note != ""


class Previous:
    """All outcomes of an earlier review, and the lines that it added."""

    def __init__(self, workbook: Workbook):
        lines: dict[int, list[Line]] = {}
        self.added: list[Line] = []
        for line in workbook.lines():
            if line.number is None:
                self.added.append(line)
            else:
                lines.setdefault(line.number, []).append(line)
        # rows with the same text follow one another as they do in the sources
        self._outcomes: dict[str, list[Outcome]] = {}
        for number, key in workbook.row_keys():
            copies = [Outcome(line, _edited(line, key)) for line in lines.pop(number, [])]
            # of several copies the untouched one is the row, the others are new
            copies.sort(key=lambda outcome: outcome.edited)
            first, *others = copies or [Outcome(None, False)]
            self._outcomes.setdefault(key, []).append(first)
            self.added += [outcome.line for outcome in others]

    def find(self, key: str, occurrence: int) -> Outcome | None:
        """What became of a row, None if it was not in the earlier review.

        Args:
            key: result of `key_of`.
            occurrence: how many rows with this key come before it.
        """
        found = self._outcomes.get(key, [])
        return found[occurrence] if occurrence < len(found) else None

    def unused(self, asked: Counter) -> list[Line]:
        """Lines with edits or decisions about rows that exist no longer.

        Args:
            asked: how many rows there are now with each key.
        """
        return [
            outcome.line
            for key, outcomes in self._outcomes.items()
            for outcome in outcomes[asked[key] :]
            if outcome.line and outcome.matters
        ]


def _edited(line: Line, key: str) -> bool:
    return line.pair != ("", "") if key.startswith("!") else _pair_key(line.pair) != key


@dataclass(slots=True)
class Item:
    """A row to show.

    Attributes:
        number: of the row, None for one that the earlier review added.
        row: as it was extracted.
        pair: its question and answer.
        shown: the same, or what the earlier review made of them.
        delete, note: decision and remark of the earlier review.
    """

    number: int | None
    row: dict
    pair: tuple[str, str]
    shown: tuple[str, str]
    delete: bool = False
    note: str = ""


@dataclass
class Items:
    """All rows to show; may be iterated several times.

    Attributes:
        rows: parquet file of the schema `files.ROWS`.
        first: number of the first row of each source.
        previous: an earlier review, if there is one.
        asked: after an iteration, how many rows there are with each key.
    """

    rows: Path
    first: dict[str, int]
    previous: Previous | None
    asked: Counter = field(default_factory=Counter)

    def __iter__(self) -> Iterator[Item]:
        self.asked = Counter()
        for numbers, batch in numbered(self.rows, self.first):
            for number, row in zip(numbers, batch.to_pylist(), strict=True):
                if (pair := pair_of(row)) is not None:
                    item = Item(number, row, pair, pair)
                    if self.previous:
                        self._carry_over(item)
                    yield item
        for line in self.previous.added if self.previous else []:
            row = dict.fromkeys(ROWS.names) | {"source": "", "locator": "", "original": ""}
            yield Item(None, row, ("", ""), line.pair, line.delete, line.note)

    def _carry_over(self, item: Item) -> None:
        key = key_of(item.row, item.pair)
        outcome = self.previous.find(key, self.asked[key])
        self.asked[key] += 1
        if outcome is None:
            return
        if outcome.line is None:
            item.delete = True
            return
        item.delete, item.note = outcome.line.delete, outcome.line.note
        if outcome.edited:
            item.shown = outcome.line.pair
