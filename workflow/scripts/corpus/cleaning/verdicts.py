"""What becomes of each row, and what is said about those that are rejected for others."""

from pathlib import Path

import numpy as np

from . import duplicates
from .contents import answer, question
from .rows import Places

# What became of a row.
KEPT, UNUSABLE, CONFLICT, DUPLICATE, NEAR_DUPLICATE, CONTAMINATED = range(6)
REASONS = {
    CONFLICT: "conflicting_answers",
    DUPLICATE: "duplicate",
    NEAR_DUPLICATE: "near_duplicate",
    CONTAMINATED: "contaminated",
}


class Verdicts:
    """What becomes of each row, and why."""

    def __init__(self, rows: Path, against: Path | None, codes: np.ndarray):
        """Start with what each row is by itself.

        Args:
            rows: file of the schema `files.ROWS`.
            against: file of the same schema, with questions not to be trained on.
            codes: KEPT or UNUSABLE for each row.
        """
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

    def __init__(self, rows: Path, against: Path | None, verdicts: Verdicts):
        codes, other = verdicts.codes, verdicts.other
        same = (codes == DUPLICATE) | (codes == NEAR_DUPLICATE)
        self._verdicts, self._how = verdicts, verdicts._how
        self._same = Places(rows, other[same])
        if verdicts.conflicts:
            found, usable = verdicts.conflicts
            self._answers = Places(rows, usable[found.referred_to()], answer)
        own = [row for row, (_, foreign) in self._how.items() if not foreign]
        self._asked = Places(rows, other[np.array(own, np.int64)], question)
        if against:
            theirs = [row for row, (_, foreign) in self._how.items() if foreign]
            self._foreign = Places(against, other[np.array(theirs, np.int64)], question)

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
