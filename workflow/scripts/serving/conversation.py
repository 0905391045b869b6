"""A conversation with a person: what was said, and what is still read of it."""

import threading
from collections.abc import Iterator, Sequence

from generation import Piece, Sampling
from models import Served
from prompts import PromptError


class Conversation:
    """Questions and answers, with one model.

    Attributes:
        system: system prompt; None for that of the configuration.
        turns: what was said, beginning with the user.
        forgotten: turns that the last question was asked without, because they did not fit.
    """

    def __init__(
        self,
        served: Served,
        system: str | None = None,
        turns: Sequence[dict[str, str]] = (),
    ) -> None:
        self._served, self.system, self.turns = served, system, list(turns)
        self.forgotten = 0

    def ask(
        self, question: str, sampling: Sampling, cancelled: threading.Event | None = None
    ) -> Iterator[Piece]:
        """Ask, and yield the answer in pieces; what has come stays in the conversation.

        Raises:
            PromptError: the question cannot be asked; it is not in the conversation then.
            EngineError: the engine failed.
        """
        prompts = self._served.prompts
        before = [] if self.system is None else [{"role": "system", "content": self.system}]
        self.turns.append({"role": "user", "content": question})
        try:
            read = prompts.fitting([*before, *self.turns], sampling.max_tokens)
            self.forgotten = len(before) + len(self.turns) - len(read)
            ids = prompts.ids(read)
            room = prompts.room(ids, sampling.max_tokens)
        except PromptError:
            self.turns.pop()
            raise
        sampling = Sampling(sampling.temperature, sampling.top_p, room, sampling.seed)
        self.turns.append({"role": "assistant", "content": ""})
        answer = self.turns[-1]
        pieces = self._served.engine.generate(ids, sampling, cancelled or threading.Event())
        try:
            for piece in pieces:
                answer["content"] += piece.text
                yield piece
        finally:
            pieces.close()
