"""`make chat`: talk to a model in the terminal.

Started by launch.py, with what it found out as JSON in place of options.
"""

import os
import sys
from typing import TYPE_CHECKING

import program

if TYPE_CHECKING:
    from models import Served


def talk(plan: dict, served: list["Served"]) -> None:
    """Talk until the end."""
    print(f"Loading {plan['models'][0]['name']} ...", file=sys.stderr, flush=True)
    import models
    import terminal

    models.load(plan, served)
    chat = terminal.Chat(served[0], models.default_sampling(plan))
    try:
        if sys.stdin.isatty() and sys.stdout.isatty():
            terminal.note("/help shows what else one can type; /quit ends.")
            terminal.talk(chat, terminal.typed_lines())
        else:
            terminal.talk(chat, terminal.piped_lines())
    except BrokenPipeError:
        # whoever read the answers is gone; nor shall Python complain when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(program.run("chat", talk))
