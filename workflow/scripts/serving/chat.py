"""`make chat`: talk to a model in the terminal, or through a pipe, a line a question.

Started by launch.py, with what it found out as JSON in place of options. Answers go to stdout,
everything else to stderr.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import models
import options
from conversation import Conversation
from generation import EngineError, Sampling
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

    def __init__(self, served: models.Served, sampling: Sampling) -> None:
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


def talk(chat: Chat, lines: Callable[[], Iterator[str]]) -> None:
    """Take lines until there are no more, or one says so."""
    for line in lines():
        if not chat.take(line):
            return


def main() -> str | None:
    """Talk until the end; returns a message on failure, as `sys.exit` takes it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    plan = json.loads(sys.argv[1])
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    served: list[models.Served] = []
    try:
        note(f"Loading {plan['models'][0]['name']} ...")
        models.load(plan, served)
        if interactive:
            note("/help shows what else one can type; /quit ends.")
        chat = Chat(served[0], models.default_sampling(plan))
        talk(chat, typed_lines if interactive else piped_lines)
    except EngineError as error:
        return f"make chat: {error}"
    except KeyboardInterrupt:
        return None
    except BrokenPipeError:
        # whoever read the answers is gone; nor shall Python complain when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        for one in served:
            one.engine.close()
    return None


if __name__ == "__main__":
    sys.exit(main())
