"""What every engine takes and gives: how to draw an answer, and the pieces it comes in."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn.

    Attributes:
        temperature: 0 takes the likeliest token each time.
        top_p: draw from the likeliest tokens that together have this probability.
        max_tokens: an answer is cut there.
        seed: of the drawing; None for another one each time.
    """

    temperature: float
    top_p: float
    max_tokens: int
    seed: int | None = None


@dataclass(frozen=True)
class Piece:
    """A part of an answer.

    Attributes:
        text: what is new; may be empty.
        tokens: tokens of the answer up to here.
        finish: in the last piece, and only there, why it is the last: "stop" or "length".
    """

    text: str
    tokens: int
    finish: str | None = None


class CannotRun(Exception):
    """The program cannot do what it is there for; the text is for whoever started it."""


class EngineError(CannotRun):
    """The engine failed; the text is for the log and the client."""


class Interrupted(EngineError):
    """An answer was broken off because the program ends."""


class Engine(Protocol):
    """Something that answers prompts.

    Attributes:
        parallel: how many answers it makes at a time.
    """

    parallel: int

    def generate(
        self, ids: Sequence[int], sampling: Sampling, cancelled: threading.Event
    ) -> Iterator[Piece]:
        """Answer a prompt piece by piece; ends early, without a last piece, once cancelled.

        Raises:
            Interrupted: the program ends.
            EngineError: it failed.
        """

    def interrupt(self) -> None:
        """Break off all answers, those to come too; may be called by a signal handler."""

    def close(self) -> None:
        """Free what it holds."""
