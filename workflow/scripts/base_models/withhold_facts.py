"""Leave the facts that are asked about in the held-out test out of a pre-training text.

A model that has never seen a fact cannot answer a question about it: the control experiment for
where a tuned model's knowledge comes from.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "corpus"))
from normalise import normalise


def read_jsonl(path: Path) -> list[dict]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def withheld_lines(index: list[dict], heldout: list[dict]) -> set[int]:
    """Numbers, from 1, of the lines that state a held-out fact.

    Args:
        index: one dict per fact: `questions`, and `first_line` and `lines` of its sentences.
        heldout: the held-out questions, each a dict with `question`.
    """
    asked = {normalise(row["question"]) for row in heldout}
    lines = set()
    for fact in index:
        if any(normalise(question) in asked for question in fact["questions"]):
            lines |= set(range(fact["first_line"], fact["first_line"] + fact["lines"]))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--heldout", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    lines = withheld_lines(read_jsonl(arguments.index), read_jsonl(arguments.heldout))
    if not lines:
        sys.exit(
            f"withhold_facts: no fact of {arguments.index} is asked about in {arguments.heldout}."
        )
    text = arguments.text.read_text("utf-8").splitlines(keepends=True)
    kept = [line for number, line in enumerate(text, 1) if number not in lines]
    print(f"{len(kept)} of {len(text)} sentences kept")
    arguments.output.write_text("".join(kept), encoding="utf-8")


if __name__ == "__main__":
    main()
