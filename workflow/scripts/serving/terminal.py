"""A chat in the terminal, or through a pipe, a line a question.

Answers go to stdout, everything else to stderr.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace

import options
from conversation import Conversation
from generation import Sampling
from models import Served
from prompts import PromptError

HELP = """\
/clear            forget the conversation
/history          show it
/system TEXT      another system prompt (without TEXT: show it); forgets the conversation
/temperature 0.7  0: always the likeliest answer
/top-p 0.9        draw from the likeliest tokens that make up this share
/max-tokens 256   an answer is cut there
/seed 1           of the drawing
/quit             end; so does Ctrl-D
Ctrl-C stops an answer. A line that begins with // is a question that begins with /."""
COMMANDS = [line.split()[0] for line in HELP.splitlines() if line.startswith("/")]


def note(text: str) -> None:
    """Tell the person something that is no answer."""
    print(text, file=sys.stderr, flush=True)


class Chat:
    """One session."""

    def __init__(self, served: Served, sampling: Sampling) -> None:
        self._served, self.sampling = served, sampling
        self.conversation = Conversation(served)

    def take(self, line: str) -> bool:
        """Answer a line, or do what it commands; False at the end."""
        if not line.strip():
            return True
        if line.startswith("/") and not line.startswith("//"):
            return self._command(*line[1:].split(maxsplit=1))
        self._answer(line[1:] if line.startswith("//") else line)
        return True

    def _answer(self, question: str) -> None:
        finish = None
        try:
            for piece in self.conversation.ask(question, self.sampling):
                print(piece.text, end="", flush=True)
                finish = piece.finish
        except PromptError as error:
            note(str(error))
            return
        except KeyboardInterrupt:
            print(flush=True)
            note("(stopped)")
            return
        print(flush=True)
        if finish == "length":
            note(f"(cut after {piece.tokens} tokens; /max-tokens allows more)")
        if self.conversation.forgotten:
            note(
                f"(the first {self.conversation.forgotten} messages no longer fit into what the "
                "model can read)"
            )

    def _command(self, name: str = "", value: str = "") -> bool:
        """Carry out /NAME VALUE; False at the end."""
        match name:
            case "quit" | "exit":
                return False
            case "clear":
                self._forget(self.conversation.system)
                note("(forgotten)")
            case "history":
                for turn in self.conversation.turns:
                    note(f"{turn['role']}: {turn['content']}")
            case "system":
                if value:
                    self._forget(value)
                given = self.conversation.system
                note((self._served.prompts.system if given is None else given) or "(none)")
            case "temperature" | "top-p" | "max-tokens" | "seed":
                self._set(name, value)
            case _:
                if name != "help":
                    note(f"there is no /{name}")
                note(HELP)
        return True

    def _forget(self, system: str | None) -> None:
        self.conversation = Conversation(self._served, system)

    def _set(self, name: str, value: str) -> None:
        field = name.replace("-", "_")
        if value:
            try:
                number = options.TYPES[field](value)
            except options.ArgumentTypeError as error:
                note(f"/{name}: {error}")
                return
            except ValueError:
                note(f"/{name}: {value} is no number of this kind")
                return
            self.sampling = replace(self.sampling, **{field: number})
        note(f"{name}: {getattr(self.sampling, field)}")


def typed_lines() -> Iterator[str]:
    """What a person types, until Ctrl-D."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter

    session: PromptSession[str] = PromptSession(
        completer=WordCompleter(COMMANDS, sentence=True), complete_while_typing=False
    )
    while True:
        try:
            yield session.prompt("> ")
        except KeyboardInterrupt:
            continue  # an empty line instead of the one begun, as in a shell
        except EOFError:
            return


def piped_lines() -> Iterator[str]:
    """The lines of a pipe or file."""
    sys.stdin.reconfigure(errors="replace")
    for line in sys.stdin:
        yield line.rstrip("\r\n")


def talk(chat: Chat, lines: Iterator[str]) -> None:
    """Take lines until there are no more, or one says so."""
    for line in lines:
        if not chat.take(line):
            return
