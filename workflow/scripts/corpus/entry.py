"""What every reader yields."""

import textwrap
from dataclasses import dataclass

# Characters of a message.
LONGEST = 2_000


class SourceError(Exception):
    """A source as a whole cannot be read; the text says which, why and what to do."""

    def __init__(self, message: str):
        # what a parser says may have several lines, and quote a good part of a damaged file
        super().__init__(textwrap.shorten(message, LONGEST, placeholder=" ..."))


@dataclass(slots=True)
class Entry:
    """One row of a source as named fields, or the reason why it has none.

    Attributes:
        locator: place in the source as a person would look it up ("paragraph 17", "题库!B12").
        original: the row as it stands in the source.
        value: the fields of the row by name, None where the row could not be taken apart.
        reason, detail: set where the reader has to reject the row.
        repaired: name of the damage that the reader mended ("mojibake"), None where there was none.
    """

    locator: str
    original: str
    value: dict | None = None
    reason: str | None = None
    detail: str | None = None
    repaired: str | None = None
