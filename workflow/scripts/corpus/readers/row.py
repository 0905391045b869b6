"""What every reader yields."""

from dataclasses import dataclass, field

from .entry import SourceError as SourceError


@dataclass(slots=True)
class Row:
    """One row of a source: a question with its answer, or the reason why it is none.

    Attributes:
        locator: place in the source as a person would look it up ("paragraph 17", "题库!B12").
        original: the row as it stands in the source.
        question, answer: texts as found, None where the row could not be taken apart.
        meta: further named fields of the row.
        reason, detail: set when the reader has to reject the row.
    """

    locator: str
    original: str
    question: str | None = None
    answer: str | None = None
    meta: dict = field(default_factory=dict)
    reason: str | None = None
    detail: str | None = None
