"""The command line of `make chat`, `make api` and `make web`. Standard library only."""

import argparse
import ipaddress
import math
from argparse import ArgumentTypeError
from collections.abc import Callable

PORTS = {"api": 8000, "web": 7860}
TOKEN_VARIABLE = "SERVING_TOKEN"
TOKEN_LENGTH = 16


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ArgumentTypeError(f"{text} is not at least 1")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 65535:
        raise ArgumentTypeError(f"{text} is not at least 1 and at most 65535")
    return value


def _number(low: float, high: float, above: bool = False) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = float(text)
        if not (low <= value <= high and math.isfinite(value)) or (above and value == low):
            raise ArgumentTypeError(
                f"{text} is not {'above' if above else 'at least'} {low:g} and at most {high:g}"
            )
        return value

    return number


# What reads the settings of an answer.
TYPES = {
    "temperature": _number(0, 2),
    "top_p": _number(0, 1, above=True),
    "max_tokens": _count,
    "seed": int,
}


def parser(program: str) -> argparse.ArgumentParser:
    """The options of one of the three programs."""
    about = {
        "chat": "Talk to a model in the terminal.",
        "api": "Serve a model by the API that OpenAI's clients speak.",
        "web": "A page in the browser: the base model and the tuned one beside each other.",
    }
    result = argparse.ArgumentParser(
        prog=f"make {program}",
        usage=f'make {program} ARGS="[options]"',
        description=about[program],
        allow_abbrev=False,
    )
    which = result.add_argument_group("which model")
    which.add_argument(
        "--configfile",
        nargs="+",
        default=[],
        metavar="FILE",
        help="overlays, as in make run",
    )
    which.add_argument("--run", help="a run of the configuration (default: the first)")
    which.add_argument(
        "--variant",
        help="base, tuned, awq, turbomind or a stage (default: the best one for this machine)",
    )
    if program == "web":
        which.add_argument(
            "--single",
            action="store_true",
            help="the model alone, without the base model beside it: half the memory",
        )
    which.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="numbers on a CPU: float32 (default) as in evaluation, bfloat16 for half the memory",
    )
    how = result.add_argument_group("how it answers, unless a request says otherwise")
    how.add_argument("--system", help="system prompt (default: corpus.system of the configuration)")
    how.add_argument(
        "--temperature",
        type=TYPES["temperature"],
        default=0.0,
        help="0 (default): the likeliest answer, as in evaluation",
    )
    how.add_argument(
        "--top-p",
        type=TYPES["top_p"],
        default=1.0,
        help="draw from the likeliest tokens that make up this share (default: 1)",
    )
    how.add_argument(
        "--max-tokens",
        type=_count,
        default=512,
        help="an answer is cut there (default: %(default)s)",
    )
    how.add_argument(
        "--seed", type=TYPES["seed"], help="of the drawing (default: another one each time)"
    )
    if program in PORTS:
        server = result.add_argument_group("the server")
        server.add_argument(
            "--host",
            default="127.0.0.1",
            help="address to listen on (default: %(default)s, which other machines cannot reach); "
            f"any other needs a token in the variable {TOKEN_VARIABLE}",
        )
        server.add_argument(
            "--port", type=_port, default=PORTS[program], help="default: %(default)s"
        )
        server.add_argument(
            "--max-requests",
            type=_count,
            default=8,
            help="answered or waiting at a time; more are sent away (default: %(default)s)",
        )
    result.add_argument(
        "--dry-run", action="store_true", help="show what would be served, and how, and end"
    )
    return result


def is_loopback(host: str) -> bool:
    """Whether only this machine itself can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def token_mistake(host: str, token: str) -> str | None:
    """Why the token is none to protect this address with; None if it will do."""
    if not token:
        if is_loopback(host):
            return None
        return (
            f"--host {host} can be reached from other machines, so a token is needed: put a "
            f"secret of at least {TOKEN_LENGTH} characters into the variable {TOKEN_VARIABLE}, "
            f"for example {TOKEN_VARIABLE}=$(openssl rand -hex 24)"
        )
    if len(token) < TOKEN_LENGTH or not token.isascii() or not token.isprintable() or " " in token:
        return (
            f"{TOKEN_VARIABLE} must have at least {TOKEN_LENGTH} characters: letters, digits and "
            "ASCII signs, no spaces"
        )
    return None
