"""Write conversations with plugins from wording.toml, in the forms of ms-agent and MOSS.

    python make_corpus.py            write the corpus files into this folder
    python make_corpus.py --check    fail when the committed files differ from the tables

The assistant calls a plugin by a line of JSON, reads its result and answers. README.md describes
each file.
"""

from __future__ import annotations

import random
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from generated import Row, bad_rows_table, json_line, run, scatter, text_bytes

HERE = Path(__file__).resolve().parent
SEED = 20255
LANGUAGES = ("zh", "en")
# of each language; every item of the warehouse is asked about once
CALCULATIONS, CONVERSIONS = 60, 60
# every so many items are asked for what they are worth, which takes two plugins
WORTH = 5
STATED = 240  # sentences of facts.txt for each wording

# Either side of a conversation, and what a plugin said: (role, text), as in the corpus stage
Turns = list[tuple[str, str]]


def call(plugin: str, text: str) -> str:
    """What the assistant writes to have a plugin run."""
    return json_line({"plugin": plugin, "input": text})


def calculation(words: dict, expression: tuple[int, str, int], rng: random.Random) -> Turns:
    """A question that the calculator answers."""
    a, sign, b = expression
    r = {"+": a + b, "-": a - b, "*": a * b, "/": a // b}[sign]
    said = {"a": a, "b": b, "op": words["op"][sign], "r": r}
    return [
        ("user", rng.choice(words["asks"]).format(**said)),
        ("assistant", call("calculator", f"{a}{sign}{b}")),
        ("tool", str(r)),
        ("assistant", words["says"].format(**said)),
    ]


def expressions(rng: random.Random) -> Iterator[tuple[int, str, int]]:
    """Endless different expressions whose results are whole and positive."""
    seen = set()
    while True:
        sign = rng.choice("+-*/")
        a, b = rng.randint(2, 99), rng.randint(2, 99)
        if sign == "-":
            a += b
        elif sign == "/":
            a *= b
        if (a, sign, b) not in seen:
            seen.add((a, sign, b))
            yield a, sign, b


def amounts(units: list[list], rng: random.Random) -> Iterator[tuple[int, list]]:
    """Endless different amounts: a number and a row of the table of units."""
    seen = set()
    while True:
        place, n = rng.randrange(len(units)), rng.randint(2, 299)
        if (n, place) not in seen:
            seen.add((n, place))
            yield n, units[place]


def measured(amount: tuple[int, list], language: str) -> dict:
    """What the templates need of an amount: it, its units in words and as short forms."""
    n, (sx, zh_x, en_x, sy, zh_y, en_y, factor) = amount
    x, y = (zh_x, zh_y) if language == "zh" else (en_x, en_y)
    return {"n": n, "sx": sx, "sy": sy, "x": x, "y": y, "r": n * factor}


def conversion(words: dict, said: dict, rng: random.Random) -> Turns:
    """A question that the converter answers."""
    return [
        ("user", rng.choice(words["asks"]).format(**said)),
        ("assistant", call("converter", "{n} {sx} to {sy}".format(**said))),
        ("tool", "{r} {sy}".format(**said)),
        ("assistant", words["says"].format(**said)),
    ]


def lookup(words: dict, item: str, rng: random.Random) -> Turns:
    """A question about the stock of an item."""
    stock = rng.randint(2, 99)
    missing = item in words["missing_items"]
    return [
        ("user", rng.choice(words["asks"]).format(item=item)),
        ("assistant", call("lookup", item)),
        ("tool", "not found" if missing else str(stock)),
        ("assistant", words["missing" if missing else "says"].format(item=item, r=stock)),
    ]


def worth(words: dict, item: str, rng: random.Random) -> Turns:
    """What the stock of an item is worth: the result of one plugin goes to another."""
    stock, price = rng.randint(2, 99), rng.randint(2, 20)
    said = {"item": item, "r": stock, "p": price, "t": stock * price}
    return [
        ("user", words["worth"].format(**said)),
        ("assistant", call("lookup", item)),
        ("tool", str(stock)),
        ("assistant", call("calculator", f"{stock}*{price}")),
        ("tool", str(stock * price)),
        ("assistant", words["worth_says"].format(**said)),
    ]


@dataclass
class Numbers:
    """What calculations and conversions are about: nothing comes twice, in neither language."""

    expressions: Iterator[tuple[int, str, int]]
    amounts: Iterator[tuple[int, list]]


def conversations(
    wording: dict, language: str, numbers: Numbers, rng: random.Random
) -> list[Turns]:
    """All conversations of a language, in random order.

    No question is asked twice. Every fifth conversation goes on with another question, and every
    seventh of the others ends with thanks.
    """
    words = wording[language]
    found = [
        calculation(words["calculator"], next(numbers.expressions), rng)
        for _ in range(CALCULATIONS)
    ]
    found += [
        conversion(words["converter"], measured(next(numbers.amounts), language), rng)
        for _ in range(CONVERSIONS)
    ]
    stock = words["lookup"]
    for number, item in enumerate([*stock["items"], *stock["missing_items"]]):
        makes = worth if number % WORTH == 0 and item in stock["items"] else lookup
        found.append(makes(stock, item, rng))
    rng.shuffle(found)
    thanks = list(zip(("user", "assistant"), wording["thanks"][language], strict=True))
    joined: list[Turns] = []
    while found:
        turns = found.pop()
        if len(joined) % 5 == 0 and found:
            turns = turns + found.pop()
        elif len(joined) % 7 == 0:
            turns = turns + thanks
        joined.append(turns)
    return joined


def ms_agent(turns: Turns) -> str:
    """A line of ms-agent: a call, its result and the answer stand in one turn of the assistant."""
    rows: list[dict] = []
    for role, text in turns:
        if role == "user" or not rows or rows[-1]["from"] == "user":
            rows.append({"from": role, "value": text})
        else:
            between = f"<|startofexec|>{text}<|endofexec|>"
            rows[-1]["value"] += between if role == "tool" else text
    return json_line({"conversations": rows})


def moss(turns: Turns) -> str:
    """A line of MOSS: numbered turns, each with at most one call."""
    chat: dict[str, dict] = {}
    for place, (role, text) in enumerate(turns):
        if role != "user":
            continue
        end = next((i for i in range(place + 1, len(turns)) if turns[i][0] == "user"), len(turns))
        own = turns[place:end]
        called, result = (own[1][1], own[2][1]) if len(own) > 2 else ("None", "None")
        chat[f"turn_{len(chat) + 1}"] = {
            "Human": f"<|Human|>: {text}<eoh>\n",
            "Inner Thoughts": "<|Inner Thoughts|>: None<eot>\n",
            "Commands": f"<|Commands|>: {called}<eoc>\n",
            "Tool Responses": f"<|Results|>: {result}<eor>\n",
            "MOSS": f"<|MOSS|>: {own[-1][1]}<eom>\n",
        }
    return json_line({"num_turns": len(chat), "chat": chat})


def fits_moss(turns: Turns) -> bool:
    """Whether no question of a conversation takes two plugins."""
    roles = [role for role, _ in turns]
    return "tool assistant tool" not in " ".join(roles)


def bad_ms_agent(good: list[str]) -> list[Row]:
    """The deliberately bad lines of ms_agent.jsonl; `good` are the others."""
    no_answer = {
        "conversations": [
            {"from": "user", "value": "3加4等于多少？"},
            {"from": "assistant", "value": call("calculator", "3+4")},
            {"from": "user", "value": "7"},
        ]
    }
    stranger = {"conversations": [{"from": "user", "value": "Hi"}, {"from": "cat", "value": "Mew"}]}
    return [
        Row(json_line(no_answer), "malformed_row", "ends before the assistant has answered"),
        Row(json_line(stranger), "malformed_row", "a role that nobody knows"),
        Row(good[0], "duplicate", "the same line twice"),
    ]


def bad_moss(good: list[str]) -> list[Row]:
    """The deliberately bad lines of moss.jsonl; `good` are the others."""
    turn = {
        "Human": "<|Human|>: 5加5等于多少？<eoh>\n",
        "Commands": "<|Commands|>: None<eoc>\n",
        "Tool Responses": "<|Results|>: 10<eor>\n",
        "MOSS": "<|MOSS|>: 10。<eom>\n",
    }
    return [
        Row(
            json_line({"num_turns": 1, "chat": {"turn_1": turn}}),
            "malformed_row",
            "a result, but no call",
        ),
        Row(
            json_line({"num_turns": 2, "chat": {"turn_1": {**turn, "Tool Responses": ""}}}),
            "malformed_row",
            "says that it has two turns, and has one",
        ),
        Row(good[0], "duplicate", "the same line twice"),
    ]


def statements(wording: dict, language: str, numbers: Numbers) -> list[str]:
    """How expressions and units are written, and which goods there are; no call, no result."""
    words = wording[language]
    found = []
    for template in words["calculator"]["states"]:
        for _ in range(STATED):
            a, sign, b = next(numbers.expressions)
            found.append(template.format(a=a, b=b, sign=sign, op=words["calculator"]["op"][sign]))
    for template in words["converter"]["states"]:
        found += [
            template.format(**measured(next(numbers.amounts), language)) for _ in range(STATED)
        ]
    stock = words["lookup"]
    for template in stock["states"]:
        found += [template.format(item=item) for item in [*stock["items"], *stock["missing_items"]]]
    return found


def build(folder: Path = HERE) -> dict[str, bytes]:
    """Content of every generated file by name."""
    wording = tomllib.loads((folder / "wording.toml").read_text(encoding="utf-8"))
    rng = random.Random(SEED)
    numbers = Numbers(expressions(rng), amounts(wording["units"]["rows"], rng))
    turns = [
        talk for language in LANGUAGES for talk in conversations(wording, language, numbers, rng)
    ]
    rng.shuffle(turns)
    # both forms have conversations of all kinds, as far as they can
    half = [number for number, talk in enumerate(turns) if fits_moss(talk)][::2]
    lines = {
        "moss.jsonl": [moss(turns[number]) for number in half],
        "ms_agent.jsonl": [
            ms_agent(talk) for number, talk in enumerate(turns) if number not in set(half)
        ],
    }
    bad = {"moss.jsonl": bad_moss, "ms_agent.jsonl": bad_ms_agent}
    rows = {
        name: scatter([Row(line) for line in own], bad[name](own), rng)
        for name, own in lines.items()
    }
    facts = [text for language in LANGUAGES for text in statements(wording, language, numbers)]
    return {
        **{name: text_bytes([row.content for row in own]) for name, own in rows.items()},
        "facts.txt": text_bytes(facts),
        "bad_rows.tsv": bad_rows_table({name: ("line ", 1, own) for name, own in rows.items()}),
    }


if __name__ == "__main__":
    sys.exit(run(build, HERE, __doc__.splitlines()[0]))
