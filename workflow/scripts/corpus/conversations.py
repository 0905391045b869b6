"""Write training conversations in the form that XTuner reads, or a sample as chat messages."""

import argparse
import heapq
import sys
from collections.abc import Iterator
from pathlib import Path

from files import read_parquet, write_jsonl
from normalise import digest


def to_xtuner(messages: list[dict], system: str) -> dict:
    """A conversation as XTuner 0.2 wants it (docs: "single-turn/multi-turn conversation").

    Args:
        messages: turns of a user and an assistant, by role and content.
        system: system prompt, "" for none.

    Returns:
        {"conversation": [{"system"?, "input", "output"}, ...]}, system in the first turn only.
    """
    turns = [
        {"input": user["content"], "output": assistant["content"]}
        for user, assistant in zip(messages[::2], messages[1::2], strict=True)
    ]
    if system:
        turns[0] = {"system": system, **turns[0]}
    return {"conversation": turns}


def to_messages(messages: list[dict], system: str) -> dict:
    """A conversation as chat messages, {"messages": [{"role", "content"}, ...]}."""
    first = [{"role": "system", "content": system}] if system else []
    return {"messages": first + messages}


def train_records(records: Path) -> Iterator[dict]:
    """Id and messages of the records to train on."""
    for record in read_parquet(records, ["id", "messages", "split"]):
        if record["split"] == "train":
            yield record


def sample(records: Iterator[dict], size: int, *key: str | int) -> list[dict]:
    """Up to `size` records, drawn and ordered by a hash of key and id.

    More data displaces only what it has to, and a smaller sample is the beginning of a larger one.
    """
    return heapq.nsmallest(size, records, key=lambda record: digest(*key, record["id"]))


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=Path, required=True, help="parquet file from clean.py")
    parser.add_argument("--system", required=True, help="system prompt, may be empty")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines to write")
    parser.add_argument("--sample", type=int, help="write so many as chat messages (default: all)")
    parser.add_argument("--seed", type=int, help="draws the sample")
    args = parser.parse_args(argv)
    if (args.sample is None) != (args.seed is None):
        parser.error("--sample and --seed go together")
    train = train_records(args.records)
    if args.sample is None:
        rows = (to_xtuner(record["messages"], args.system) for record in train)
    else:
        drawn = sample(train, args.sample, "calibration", args.seed)
        rows = (to_messages(record["messages"], args.system) for record in drawn)
    print(f"{args.out}: {write_jsonl(args.out, rows):,} conversations")
    return 0


if __name__ == "__main__":
    sys.exit(main())
