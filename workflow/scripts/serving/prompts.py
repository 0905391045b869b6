"""From a conversation to the token ids that the model reads: those it was trained on."""

from collections.abc import Sequence

from jinja2 import TemplateError

ROLES = ("system", "user", "assistant")
Messages = Sequence[dict[str, str]]


class PromptError(Exception):
    """A conversation that cannot be asked; the text is for the client."""


class TooLong(PromptError):
    """A conversation that does not fit into the model's context."""


class Prompts:
    """Writes prompts with the chat template that training left in the tokenizer.

    Attributes:
        tokenizer: the tokenizer of the run's final model.
        system: system prompt of conversations that come without one; empty: none.
        context: the longest prompt and answer together, in tokens.
    """

    def __init__(self, tokenizer, system: str, context: int) -> None:
        if tokenizer.chat_template is None:
            raise ValueError("the tokenizer has no chat template")
        self.tokenizer, self.system, self.context = tokenizer, system, context

    def complete(self, messages: Messages) -> list[dict[str, str]]:
        """The conversation with the system prompt it is asked with.

        A conversation that begins with a system message keeps it; an empty one means none at all,
        because in training an empty system prompt is none.
        """
        rest, system = list(messages), self.system
        if rest and rest[0]["role"] == "system":
            system = rest.pop(0)["content"]
        if not rest or rest[-1]["role"] != "user":
            raise PromptError("the last message must be one of the user")
        if any(message["role"] == "system" for message in rest):
            raise PromptError("a system message must be the first one, and the only one")
        return [{"role": "system", "content": system}, *rest] if system else rest

    def ids(self, messages: Messages) -> list[int]:
        """Token ids up to where the answer begins.

        Raises:
            PromptError: the chat template does not take such a conversation.
        """
        try:
            return self.tokenizer.apply_chat_template(
                self.complete(messages), add_generation_prompt=True
            )
        except TemplateError as error:
            raise PromptError(f"the chat template of this model says: {error}") from None

    def room(self, ids: Sequence[int], wanted: int) -> int:
        """How many tokens an answer to this prompt may have, at most the wanted number.

        Raises:
            TooLong: there is room for none.
        """
        left = self.context - len(ids)
        if left < 1:
            raise TooLong(
                f"the conversation has {len(ids)} tokens; with an answer the model can read "
                f"{self.context}"
            )
        return min(wanted, left)

    def fitting(self, messages: Messages, answer: int) -> list[dict[str, str]]:
        """The conversation without its oldest turns, as many as an answer needs for its room.

        Args:
            messages: alternating turns, with or without a system message before them.
            answer: tokens to leave free, if at all possible.

        Raises:
            TooLong: the last question alone is too long.
        """
        system = [message for message in messages[:1] if message["role"] == "system"]
        turns = list(messages[len(system) :])
        while True:
            ids = self.ids([*system, *turns])
            if len(turns) == 1:
                self.room(ids, answer)
            if len(turns) == 1 or len(ids) + answer <= self.context:
                return [*system, *turns]
            # a question with its answer, so that the conversation still begins with the user
            turns = turns[2:]
