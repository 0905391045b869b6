"""Which texts give away a question of the test: those that hold most of its n-grams.

Of a question in a script without spaces, runs of 13 characters are looked for, of others runs of 8
words; a text that has 80 % of them in any place gives it away. Shorter questions are only found
where a whole turn asks the same, which is not decided here. Two questions of one wording about
different things differ in all runs that touch what they are about.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from .contents import Texts
from .shingles import Words, mix, words_of_rows

# Characters of a script without spaces, and words of others.
SINGLE_RUN, WORD_RUN = 13, 8
SHARE = 0.8
# The filter has 16 to 32 places for each run, if that does not take too much memory.
_MOST_FILTER_BITS = 24
_EXPANDED = 4_000_000
_QUESTIONS_AT_A_TIME = 10_000


@dataclass(frozen=True, slots=True)
class _Runs:
    """Runs of all questions of one kind of script.

    Attributes:
        size: words in a run.
        numbers: of the questions.
        runs, starts: distinct runs of each question, in ascending order.
        needed: so many of them give a question away.
        rare, rare_of: runs of which a text must have one to have as many as are needed, in
            ascending order, and the place of the question in `numbers`.
        filter: for the upper bits of a run, whether any of `rare` has them; as many bits as its
            length takes.
    """

    size: int
    numbers: np.ndarray
    runs: np.ndarray
    starts: np.ndarray
    needed: np.ndarray
    rare: np.ndarray
    rare_of: np.ndarray
    filter: np.ndarray

    def given_away(self, words: Words) -> tuple[np.ndarray, np.ndarray]:
        """Texts and the questions that they give away."""
        runs, starts = words.shingles(self.size)
        (hits,) = np.nonzero(self.filter[runs >> _shift(self.filter)])
        first = np.searchsorted(self.rare, runs[hits], side="left")
        count = np.searchsorted(self.rare, runs[hits], side="right") - first
        hits, first, count = hits[count > 0], first[count > 0], count[count > 0]
        if not len(hits):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        text = np.repeat(np.searchsorted(starts, hits, side="right") - 1, count)
        place = np.repeat(first - np.cumsum(count) + count, count) + np.arange(count.sum())
        pairs = np.unique(text.astype(np.uint64) << np.uint64(32) | self.rare_of[place])
        text = (pairs >> np.uint64(32)).astype(np.int64)
        question = (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64)

        # all runs of these texts, each together with its text
        involved = np.zeros(len(starts) - 1, bool)
        involved[text] = True
        owner = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        kept = involved[owner]
        present = np.unique(_together(runs[kept], owner[kept]))
        sizes = np.diff(self.starts)
        given = np.zeros(len(text), bool)
        steps = np.flatnonzero(np.diff(np.cumsum(sizes[question]) // _EXPANDED, prepend=-1))
        for begin, end in zip(steps, np.append(steps[1:], len(text)), strict=True):
            q, t = question[begin:end], text[begin:end]
            length = sizes[q]
            bounds = np.concatenate([[0], np.cumsum(length)])
            place = np.repeat(self.starts[q] - bounds[:-1], length) + np.arange(bounds[-1])
            wanted = _together(self.runs[place], np.repeat(t, length))
            at = np.searchsorted(present, wanted)
            at[at == len(present)] = 0
            found = np.add.reduceat(present[at] == wanted, bounds[:-1])
            given[begin:end] = found >= self.needed[q]
        return text[given], self.numbers[question[given]]


def _shift(places: np.ndarray) -> np.uint64:
    return np.uint64(65 - len(places).bit_length())


def _together(runs: np.ndarray, texts: np.ndarray) -> np.ndarray:
    return mix(runs + mix(texts.astype(np.uint64) + np.uint64(1)))


class Questions:
    """The questions that must not be given away."""

    def __init__(self, kinds: list[_Runs]):
        self._kinds = kinds

    @classmethod
    def of(cls, questions: Iterable[str]) -> "Questions":
        """Prepare questions; they are numbered as they are given, and not kept."""
        questions, before = iter(questions), 0
        by_size: dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
        while some := list(islice(questions, _QUESTIONS_AT_A_TIME)):
            texts = Texts(pa.array(some, pa.string()), np.arange(len(some) + 1))
            for first, last, words, _ in words_of_rows(texts):
                for here, size in _by_script(words):
                    runs, starts = words.select(here).shingles(size)
                    numbers, counts = (
                        np.arange(before + first, before + last)[here],
                        np.diff(starts),
                    )
                    long = counts > 0
                    by_size.setdefault(size, []).append((numbers[long], runs, counts[long]))
            before += len(some)
        kinds = []
        for size, parts in by_size.items():
            numbers, runs, counts = (np.concatenate(part) for part in zip(*parts, strict=True))
            if len(runs):
                kinds.append(_index(size, numbers, runs, counts))
        return cls(kinds)

    def __bool__(self) -> bool:
        """Whether any question is long enough to be looked for."""
        return bool(self._kinds)

    def save(self, path: Path) -> None:
        """Write everything to a file that many processes can share."""
        arrays = {
            f"{number}_{name}": getattr(kind, name)
            for number, kind in enumerate(self._kinds)
            for name in _Runs.__slots__
        }
        np.savez(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> "Questions":
        """Read what `save` has written."""
        with np.load(path) as file:
            number = len({name.partition("_")[0] for name in file.files})
            kinds = [
                _Runs(**{name: file[f"{index}_{name}"] for name in _Runs.__slots__})
                for index in range(number)
            ]
        return cls(kinds)

    def given_away(self, texts: Texts) -> tuple[np.ndarray, np.ndarray]:
        """Rows, in ascending order, and a question that each of them gives away."""
        rows, numbers = [], []
        for first, _, words, _ in words_of_rows(texts):
            for kind in self._kinds:
                text, question = kind.given_away(words)
                rows.append(text + first)
                numbers.append(question)
        if not rows:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        row, number = np.concatenate(rows), np.concatenate(numbers)
        order = np.lexsort((number, row))
        row, number = row[order], number[order]
        kept = np.append(True, row[1:] != row[:-1])[: len(row)]
        return row[kept], number[kept]

    def all_given_away(self, texts: Texts) -> np.ndarray:
        """All questions that any of the texts gives away."""
        found = [
            kind.given_away(words)[1]
            for _, _, words, _ in words_of_rows(texts)
            for kind in self._kinds
        ]
        return np.unique(np.concatenate([np.empty(0, np.int64), *found]))


def _by_script(words: Words) -> list[tuple[np.ndarray, int]]:
    without_spaces = words.without_spaces()
    return [(without_spaces, SINGLE_RUN), (~without_spaces, WORD_RUN)]


def _index(size: int, numbers: np.ndarray, runs: np.ndarray, counts: np.ndarray) -> _Runs:
    # distinct runs of each question
    owner = np.repeat(np.arange(len(numbers)), counts)
    order = np.lexsort((runs, owner))
    owner, runs = owner[order], runs[order]
    distinct = np.append(True, (owner[1:] != owner[:-1]) | (runs[1:] != runs[:-1]))[: len(runs)]
    owner, runs = owner[distinct], runs[distinct]
    asked, counts = np.unique(owner, return_counts=True)
    numbers = numbers[asked]
    owner = np.repeat(np.arange(len(asked)), counts)
    starts = np.concatenate([[0], np.cumsum(counts)])
    needed = np.ceil(SHARE * counts - 1e-9).astype(np.int64)

    # whoever has `needed` of `counts` runs has one of any `counts - needed + 1` of them: the
    # rarest ones lead to the fewest questions
    _, inverse, often = np.unique(runs, return_inverse=True, return_counts=True)
    by_rarity = np.lexsort((runs, often[inverse], owner))
    rank = np.arange(len(runs)) - np.repeat(starts[:-1], counts)
    chosen = by_rarity[rank < np.repeat(counts - needed + 1, counts)]
    chosen = chosen[np.argsort(runs[chosen], kind="stable")]
    known = np.zeros(1 << min(_MOST_FILTER_BITS, len(chosen).bit_length() + 4), bool)
    known[runs[chosen] >> _shift(known)] = True
    return _Runs(
        size=size,
        numbers=numbers,
        runs=runs,
        starts=starts,
        needed=needed,
        rare=runs[chosen],
        rare_of=owner[chosen].astype(np.uint64),
        filter=known,
    )
