"""Several models answer one question at the same time."""

import queue
import threading
from collections.abc import Iterator, Sequence

from conversation import Conversation
from generation import EngineError, Sampling
from prompts import PromptError

# So many seconds pass between two states of the answers: more a person does not see.
INTERVAL = 0.05


class Race:
    """One question, asked in several conversations.

    Attributes:
        cancelled: set it, and the answers end where they are.
        finished: for each conversation why its answer ended ("stop", "length"), or None.
        failed: for each conversation what went wrong, or None.
    """

    def __init__(self, conversations: Sequence[Conversation]) -> None:
        self.conversations, self.cancelled = conversations, threading.Event()
        self.finished: list[str | None] = [None] * len(conversations)
        self.failed: list[str | None] = [None] * len(conversations)

    def run(self, question: str, sampling: Sampling) -> Iterator[None]:
        """Yield each time the answers have grown; closing it ends them."""
        news: queue.SimpleQueue[int | None] = queue.SimpleQueue()

        def ask(index: int) -> None:
            try:
                for piece in self.conversations[index].ask(question, sampling, self.cancelled):
                    self.finished[index] = piece.finish
                    news.put(index)
            except (PromptError, EngineError) as error:
                self.failed[index] = str(error)
            finally:
                news.put(None)

        threads = [
            threading.Thread(target=ask, args=(index,), daemon=True)
            for index in range(len(self.conversations))
        ]
        for thread in threads:
            thread.start()
        running = len(threads)
        try:
            while running:
                running -= news.get() is None
                # what came at the same time is one state
                self.cancelled.wait(INTERVAL)
                while not news.empty():
                    running -= news.get() is None
                yield
        finally:
            self.cancelled.set()
            for thread in threads:
                thread.join()
