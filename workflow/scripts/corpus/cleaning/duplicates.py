"""Rows that say the same, and rows that contradict each other, from hashes alone."""

import numpy as np

# How many of the other answers a rejected row lists.
LISTED = 5


def originals(ids: np.ndarray, preferred: np.ndarray) -> np.ndarray:
    """Of each row the first one that says the same, which may be the row itself.

    Args:
        ids: of each row, a hash of what it says.
        preferred: rows that count as earlier than all others: explicit test questions.
    """
    order = np.argsort(~preferred, kind="stable")
    _, first, inverse = np.unique(ids[order], return_index=True, return_inverse=True)
    original = np.empty(len(ids), np.int64)
    original[order] = order[first][inverse]
    return original


class Contradictions:
    """Rows with the same question and different answers."""

    def __init__(self, ids: np.ndarray, questions: np.ndarray, preferred: np.ndarray):
        """Find them.

        Args:
            ids: of each row, a number for what it says; the same for what is nearly the same.
            questions: of each row, a hash of what it asks; 0 if several answers are possible.
            preferred: explicit test questions: what they answer contradicts no other row, as it
                is not trained on.
        """
        # of one question, those in the test and the others are two different ones
        self._asked = questions ^ np.where(preferred, np.uint64(1), np.uint64(0))
        self._ids = ids
        self.found = np.zeros(len(ids), bool)
        self._answers: dict[int, tuple[list[tuple[int, int]], int]] = {}
        (open_,) = np.nonzero(questions)
        if not len(open_):
            return
        by_answer = open_[np.lexsort((open_, ids[open_], self._asked[open_]))]
        asked, said = self._asked[by_answer], ids[by_answer]
        new_question = np.append(True, asked[1:] != asked[:-1])
        new_answer = new_question | np.append(True, said[1:] != said[:-1])
        number = np.cumsum(new_question) - 1
        several = (np.bincount(number, weights=new_answer) > 1)[number]
        self.found[by_answer[several]] = True
        for row in np.sort(by_answer[several & new_answer]).tolist():
            listed, count = self._answers.get(int(self._asked[row]), ([], 0))
            if count <= LISTED:
                listed.append((int(ids[row]), row))
            self._answers[int(self._asked[row])] = listed, count + 1

    def others(self, row: int) -> tuple[list[int], int]:
        """First rows of other answers to the question of a row, LISTED at most; and how many more.

        Args:
            row: one of those found.
        """
        listed, count = self._answers[int(self._asked[row])]
        own = int(self._ids[row])
        first = [place for said, place in listed if said != own][:LISTED]
        return first, count - 1 - len(first)

    def referred_to(self) -> np.ndarray:
        """Rows that `others` may name."""
        rows = [place for listed, _ in self._answers.values() for _, place in listed]
        return np.array(rows, np.int64)
