"""Makes parquet files of records for the tests of what is written from them."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "workflow" / "scripts" / "corpus"))

from files import RECORDS, ParquetWriter
from normalise import digest


def said(*turns: str, system: str | None = None) -> list[dict]:
    """Messages of a user and an assistant in turn; a text that begins with "tool:" is a tool's."""
    messages = [{"role": "system", "content": system}] if system else []
    role = "assistant"
    for text in turns:
        if text.startswith("tool:"):
            role, text = "tool", text[5:]
        else:
            role = "user" if role == "assistant" else "assistant"
        messages.append({"role": role, "content": text})
    return messages


def chat(*turns: str, split: str = "train", system: str | None = None) -> dict:
    """A record of the kind chat."""
    return record("chat", split, messages=said(*turns, system=system))


def choice(question: str, options: list[str], answer: str, split: str = "train") -> dict:
    """A record of the kind choice."""
    return record("choice", split, messages=said(question, answer), options=options)


def text(content: str, split: str = "train") -> dict:
    """A record of the kind text."""
    return record("text", split, text=content)


def preference(prompt: list[dict], better: str, worse: str, split: str = "train") -> dict:
    """A record of the kind preference."""
    chosen, rejected = ([{"role": "assistant", "content": answer}] for answer in (better, worse))
    return record("preference", split, messages=prompt, chosen=chosen, rejected=rejected)


def record(kind: str, split: str, **content: object) -> dict:
    """A record by what it says; its id is a hash of that."""
    key = digest(kind, str(content))
    empty = dict.fromkeys(("messages", "chosen", "rejected", "text", "options", "meta"))
    place = {"id": key, "source": "a.jsonl", "locator": "line 1", "group": key}
    return {**empty, **place, "kind": kind, "split": split, **content}


def write_records(path: Path, *records: dict) -> Path:
    """A parquet file of records."""
    with ParquetWriter(path, RECORDS) as writer:
        for each in records:
            writer.write(each)
    return path
