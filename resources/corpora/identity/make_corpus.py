"""Write the templates about the model itself from wording.toml.

python make_corpus.py            write the corpus files into this folder
python make_corpus.py --check    fail when the committed files differ from the tables
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from generated import Row, bad_rows_table, json_line, run, text_bytes

HERE = Path(__file__).resolve().parent


def bad_rows(good: list[str]) -> list[Row]:
    """The deliberately bad lines, which stand at the end; `good` are the others."""
    return [
        Row(good[0], "duplicate", "the same line twice"),
        Row(json_line({"question": "你多大了？", "answer": ""}), "empty_answer", "not filled in"),
    ]


def build(folder: Path = HERE) -> dict[str, bytes]:
    """Content of every generated file by name."""
    answers = tomllib.loads((folder / "wording.toml").read_text(encoding="utf-8"))["answers"]
    trained, heldout = (
        [
            json_line({"question": question, "answer": row["answer"]})
            for row in answers
            for question in row[side]
        ]
        for side in ("trained", "heldout")
    )
    rows = [*map(Row, trained), *bad_rows(trained)]
    return {
        "templates.jsonl": text_bytes([row.content for row in rows]),
        "heldout.jsonl": text_bytes(heldout),
        "bad_rows.tsv": bad_rows_table({"templates.jsonl": ("line ", 1, rows)}),
    }


if __name__ == "__main__":
    sys.exit(run(build, HERE, __doc__.splitlines()[0]))
