"""Write the embedded corpus of conversations from the tables kept beside this script.

    python make_corpus.py            write the corpus files into this folder
    python make_corpus.py --check    fail when the committed files differ from the tables

`tables/TOPIC.tsv` holds what is talked about and `conversations.toml` how. Every conversation is
delivered in two wordings with the same answers, one in the form of OpenAI and one in that of
ShareGPT. README.md describes each file.
"""

from __future__ import annotations

import random
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from generated import (
    Row,
    TableError,
    bad_rows_table,
    json_line,
    read_table,
    run,
    scatter,
    text_bytes,
)

HERE = Path(__file__).resolve().parent
SEED = 20254
COLUMNS = {
    "country": ("country", "capital", "currency", "language"),
    "small_talk": ("first", "other", "reply", "second", "second_reply"),
    "refusal": ("wish", "topic", "offer"),
    "unit": ("part", "whole", "answer"),
}

Turns = list[tuple[str, str]]  # question and answer


@dataclass(frozen=True)
class Topic:
    """A table with its wording; see conversations.toml."""

    name: str
    rows: list[dict[str, str]]
    per_conversation: int
    turns: list[dict]
    sentences: list[str]


def read_topics(folder: Path) -> list[Topic]:
    """All topics in the order of conversations.toml.

    Raises:
        TableError: a table is malformed, or its rows do not make whole conversations.
    """
    wording = tomllib.loads((folder / "conversations.toml").read_text(encoding="utf-8"))
    topics = []
    for name, entry in wording.items():
        columns = COLUMNS.get(name, ("entity", "answer"))
        # days are a part of a week and of a year
        key = 2 if name == "unit" else 1
        rows = read_table(folder / "tables" / f"{name}.tsv", columns, key)
        if len(rows) % entry["rows"]:
            raise TableError(f"{name}.tsv: {len(rows)} rows are no multiple of {entry['rows']}")
        topics.append(Topic(name, rows, entry["rows"], entry["turns"], entry["sentences"]))
    return topics


def conversations(topic: Topic, wording: int, rng: random.Random) -> list[Turns]:
    """The conversations of a topic in one of the two wordings; each row is talked about once."""
    rows = rng.sample(topic.rows, len(topic.rows))
    found = []
    for start in range(0, len(rows), topic.per_conversation):
        texts = {
            f"{column}{number}": text
            for number, row in enumerate(rows[start : start + topic.per_conversation], start=1)
            for column, text in row.items()
        }
        found.append(
            [
                (turn["asks"][wording].format(**texts), turn["says"].format(**texts))
                for turn in topic.turns
            ]
        )
    return found


def openai(turns: Turns) -> dict:
    """A conversation as OpenAI writes it."""
    return {
        "messages": [
            {"role": role, "content": text}
            for turn in turns
            for role, text in zip(("user", "assistant"), turn, strict=True)
        ]
    }


def sharegpt(turns: Turns, number: int) -> dict:
    """A conversation as ShareGPT writes it."""
    return {
        "id": f"chat-{number}",
        "conversations": [
            {"from": role, "value": text}
            for turn in turns
            for role, text in zip(("human", "gpt"), turn, strict=True)
        ],
    }


def bad_openai(good: list[Turns]) -> list[Row]:
    """The deliberately bad lines of the OpenAI file; `good` are the others."""
    unanswered = openai(good[0])
    unanswered["messages"].pop()
    two_questions = openai(good[1])
    two_questions["messages"].pop(1)
    tea = [("Is tea a drink?", "Yes, it is."), ("And soup?", " ")]
    return [
        Row(json_line(unanswered), "malformed_row", "the last question has no answer"),
        Row(json_line(two_questions), "malformed_row", "two questions in a row"),
        Row(json_line(openai(tea)), "empty_answer", "an answer of nothing but a space"),
        Row(json_line(openai(good[2]))[:-2], "malformed_row", "the end of the line is missing"),
        Row(json_line(openai(good[3])), "duplicate", "the same conversation twice"),
    ]


def bad_sharegpt(good: list[Turns]) -> list[Row]:
    """The deliberately bad entries of the ShareGPT file; `good` are the others."""
    headless = sharegpt(good[0], 9001)
    headless["conversations"].pop(0)
    stranger = sharegpt(good[1], 9002)
    stranger["conversations"][0]["from"] = "narrator"
    return [
        Row(headless, "malformed_row", "begins with an answer"),
        Row(stranger, "malformed_row", "a role that nobody knows"),
        Row({"id": "chat-9003", "conversations": []}, "malformed_row", "nobody says anything"),
        Row(sharegpt(good[2], 9004), "duplicate", "the same conversation under another id"),
    ]


def build(folder: Path = HERE) -> dict[str, bytes]:
    """Content of every generated file by name, from the tables in `folder`."""
    topics = read_topics(folder)
    talks: list[list[Turns]] = []
    for wording in (0, 1):
        # both wordings put the same rows together, so that their answers are the same
        rng = random.Random(SEED)
        talks.append([talk for topic in topics for talk in conversations(topic, wording, rng)])
    rng = random.Random(SEED)
    for talk in talks:
        rng.shuffle(talk)
    lines = scatter([Row(json_line(openai(talk))) for talk in talks[0]], bad_openai(talks[0]), rng)
    entries = [Row(sharegpt(talk, number)) for number, talk in enumerate(talks[1], start=1)]
    entries = scatter(entries, bad_sharegpt(talks[1]), rng)
    array = ",\n".join(json_line(row.content) for row in entries)
    return {
        "openai.jsonl": text_bytes([row.content for row in lines]),
        "sharegpt.json": f"[\n{array}\n]\n".encode(),
        "facts.txt": text_bytes(
            [
                sentence.format(**row)
                for topic in topics
                for row in topic.rows
                for sentence in topic.sentences
            ]
        ),
        "bad_rows.tsv": bad_rows_table(
            {"openai.jsonl": ("line ", 1, lines), "sharegpt.json": ("item ", 1, entries)}
        ),
    }


def main(argv: list[str] | None = None) -> int:
    """Write the corpus, or with --check compare it; returns the exit status."""
    return run(build, HERE, __doc__.splitlines()[0], argv)


if __name__ == "__main__":
    sys.exit(main())
