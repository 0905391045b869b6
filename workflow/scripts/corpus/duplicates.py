"""Rows that say the same, and rows that contradict each other, from hashes alone."""

from dataclasses import dataclass

import numpy as np

# How many of the other answers a rejected row lists.
LISTED = 5


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What was found; rows are numbered as they were given.

    Attributes:
        original: the first row that says the same, which may be the row itself.
        contradicted: whether other rows have other answers to the question of a row.
    """

    original: np.ndarray
    contradicted: np.ndarray
    _questions: np.ndarray
    _ids: np.ndarray
    _answers: dict[int, tuple[list[tuple[int, int]], int]]

    def others(self, row: int) -> tuple[list[int], int]:
        """First rows of other answers to the question of a row, LISTED at most; and the rest."""
        listed, number = self._answers[int(self._questions[row])]
        own = int(self._ids[row])
        first = [place for key, place in listed if key != own][:LISTED]
        return first, number - 1 - len(first)

    def referred_to(self) -> np.ndarray:
        """Rows that the rejection of another one names."""
        copies = self.original[self.original != np.arange(len(self.original))]
        answers = [place for listed, _ in self._answers.values() for _, place in listed]
        return np.unique(np.concatenate([copies, np.array(answers, np.int64)]))


def find(
    ids: np.ndarray, questions: np.ndarray, preferred: np.ndarray, conflicts: bool
) -> Duplicates:
    """Find what is there twice, and what has several answers.

    Args:
        ids: of each row, a hash of what it says.
        questions: of each row, a hash of what it asks; 0 if several answers are possible.
        preferred: rows that count as earlier than all others: explicit test questions. What
            they are asked does not contradict the others: it is not trained on.
        conflicts: whether to look for contradictions.
    """
    order = np.argsort(~preferred, kind="stable")
    _, first, inverse = np.unique(ids[order], return_index=True, return_inverse=True)
    original = np.empty(len(ids), np.int64)
    original[order] = order[first][inverse]

    # of one question, those in the test and the others are two different ones
    asked = questions ^ np.where(preferred, np.uint64(0x9E3779B97F4A7C15), np.uint64(0))
    contradicted = np.zeros(len(ids), bool)
    answers: dict[int, tuple[list[tuple[int, int]], int]] = {}
    if conflicts:
        (open_,) = np.nonzero(questions)
        by_answer = open_[np.lexsort((open_, ids[open_], asked[open_]))]
        q, a = asked[by_answer], ids[by_answer]
        new_question = np.append(True, q[1:] != q[:-1])[: len(q)]
        new_answer = new_question | np.append(True, a[1:] != a[:-1])[: len(q)]
        several = np.bincount(np.cumsum(new_question) - 1, weights=new_answer) > 1
        here = several[np.cumsum(new_question) - 1] if len(q) else np.zeros(0, bool)
        contradicted[by_answer[here]] = True
        firsts = by_answer[here & new_answer]
        for row in np.sort(firsts).tolist():
            listed, number = answers.get(int(asked[row]), ([], 0))
            if number <= LISTED:
                listed.append((int(ids[row]), row))
            answers[int(asked[row])] = listed, number + 1
    return Duplicates(original, contradicted, asked, ids, answers)
